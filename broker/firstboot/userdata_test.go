package firstboot

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"strings"
	"testing"
)

func zipped(text string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write([]byte(text))
	w.Close()
	return out.String()
}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// part is one of a MIME message.
func part(kind, encoding, header, body string) string {
	return "--MIMEBOUNDARY\r\nContent-Transfer-Encoding: " + encoding + "\r\nContent-Type: " + kind + "\r\nMime-Version: 1.0\r\n" + header + "\r\n" + body + "\r\n"
}

func message(parts ...string) string {
	return "Content-Type: multipart/mixed; boundary=\"MIMEBOUNDARY\"\nMIME-Version: 1.0\n\n" + strings.Join(parts, "") + "--MIMEBOUNDARY--\r\n"
}

// cloud is a #cloud-config that writes one file; more are lines beside.
func cloud(path, content, more string) string {
	return "#cloud-config\n" + more + "write_files: [{path: " + path + ", content: " + content + "}]\n"
}

// TestUserData is what cloud-init 22.4 makes of the same; base64 around the whole
// is a kindness of ours.
func TestUserData(t *testing.T) {
	one, two := cloud("/a", "one", ""), cloud("/b", "two", "")
	for name, c := range map[string]struct{ data, want string }{
		"nothing":             {"", ""},
		"a script":            {"#!/bin/sh\necho write_files\n", ""},
		"another kind":        {"#include\nhttps://example.com\n", ""},
		"an archive":          {"#cloud-config-archive\n- {}\n", ""},
		"plain":               {one, "/a=one"},
		"with CRLF":           {strings.ReplaceAll(one, "\n", "\r\n"), "/a=one"},
		"gzip":                {zipped(one), "/a=one"},
		"base64 of gzip":      {b64(zipped(one)), "/a=one"},
		"base64":              {b64(one), "/a=one"},
		"parts replace":       {message(part("text/cloud-config", "7bit", "", one), part("text/cloud-config", "7bit", "", two)), "/b=two"},
		"parts without lists": {message(part("text/cloud-config", "7bit", "", one), part("text/cloud-config", "7bit", "", "#cloud-config\nruncmd: []\n")), "/a=one"},
		"parts append": {message(part("text/cloud-config", "base64", "", b64(one)),
			part("text/cloud-config", "7bit", "", cloud("/b", "two", "merge_how: 'list(append)+dict(recurse_array)+str()'\n"))), "/a=one /b=two"},
		"parts append as a list": {message(part("text/cloud-config", "7bit", "", one),
			part("text/cloud-config", "7bit", "", cloud("/b", "two", "merge_how: [{name: list, settings: [append]}, {name: dict, settings: [no_replace, recurse_list]}]\n"))), "/a=one /b=two"},
		"parts append by header": {message(part("text/cloud-config", "7bit", "", one), part("text/cloud-config", "7bit", "Merge-Type: list(append)+dict(recurse_list)+str()\r\n", two)), "/a=one /b=two"},
		"parts prepend":          {message(part("text/cloud-config", "7bit", "", one), part("text/cloud-config", "7bit", "X-Merge-Type: dict(no_replace, recurse_array)+list(prepend)\r\n", two)), "/b=two /a=one"},
		"parts keep":             {message(part("text/cloud-config", "7bit", "", one), part("text/cloud-config", "7bit", "Merge-Type: list(append)+dict()+str()\r\n", two)), "/a=one"},
		"parts keep their lists": {message(part("text/cloud-config", "7bit", "", one), part("text/cloud-config", "7bit", "Merge-Type: list(no_replace)+dict(recurse_list)\r\n", two)), "/a=one"},
		"parts by index":         {message(part("text/cloud-config", "7bit", "", one), part("text/cloud-config", "7bit", "Merge-Type: list()+dict(recurse_list)\r\n", two)), "/b=two"},
		"scripts beside":         {message(part("text/x-shellscript", "7bit", "", two), part("text/cloud-config; charset=\"us-ascii\"", "quoted-printable", "", strings.ReplaceAll(one, "=", "=3D"))), "/a=one"},
		"sniffed":                {message(part("text/plain", "7bit", "", one)), "/a=one"},
		"gzip in a part":         {message(part("application/x-gzip", "base64", "", b64(zipped(one)))), "/a=one"},
		"gzip of a message":      {zipped(message(part("text/cloud-config", "7bit", "", one))), "/a=one"},
		"encodings": {"#cloud-config\nwrite_files:\n- {path: /a, encoding: b64, content: " + b64("one") + "}\n- {path: /b, encoding: gzip+base64, content: " + b64(zipped("two")) +
			"}\n- path: /c\n  encoding: gz\n  content: !!binary |\n    " + b64(zipped("three")) + "\n- path: /d\n- {path: /e, content: 'x', append: true}\n", "/a=one /b=two /c=three /d= /e=x+"},
		"anchors elsewhere": {"#cloud-config\nusers: [&a {name: x}, *a]\nwrite_files: [{path: /a, content: one}]\n", "/a=one"},
	} {
		files, err := writeFiles("user-data", []byte(c.data))
		var got []string
		for _, f := range files {
			text := f.Path + "=" + string(f.Content)
			if f.Append {
				text += "+"
			}
			got = append(got, text)
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestUserDataThatIsTooMuch ends, with an error.
func TestUserDataThatIsTooMuch(t *testing.T) {
	for name, c := range map[string]struct{ data, want string }{
		"a bomb":            {zipped(strings.Repeat("#", maxText+1)), "larger than"},
		"a bomb in a file":  {"#cloud-config\nwrite_files: [{path: /a, encoding: gz+b64, content: " + b64(zipped(strings.Repeat("#", maxText+1))) + "}]\n", "/a: its content: larger than"},
		"many parts":        {message(strings.Repeat(part("text/plain", "7bit", "", "x"), maxParts+1)), "more than 100 parts"},
		"deep nesting":      {"#cloud-config\na: " + strings.Repeat("[", 100), "nested more than"},
		"half of gzip":      {zipped(cloud("/a", "one", ""))[:30], "EOF"},
		"no list":           {"#cloud-config\nwrite_files: {path: /a}\n", "not a list"},
		"no mapping":        {"#cloud-config\nwrite_files: [a]\n", "not a mapping"},
		"an anchor in it":   {"#cloud-config\na: &x y\nwrite_files: [{path: *x}]\n", "text wanted"},
		"unknown encoding":  {"#cloud-config\nwrite_files: [{path: /a, encoding: rot13}]\n", "use b64"},
		"a broken boundary": {message(part("text/cloud-config", "7bit", "", cloud("/a", "one", "")))[:220], "EOF"},
	} {
		if _, err := writeFiles("user-data", []byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "user-data") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzUserData(f *testing.F) {
	f.Add([]byte(message(part("text/cloud-config", "base64", "", b64(zipped(cloud("/a", "one", "")))))))
	f.Add([]byte("#cloud-config\nwrite_files:\n- {path: /a, encoding: gz, content: !!binary x}\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { writeFiles("user-data", data) }) // it ends, and does not panic
}
