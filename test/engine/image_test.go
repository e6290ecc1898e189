package engine

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestArchive(t *testing.T) {
	content, err := archive(entry{name: "tmp/", mode: 0o1777}, entry{name: "bin/sh", link: "busybox"}, entry{name: "probe", mode: 0o755, content: []byte("elf")})
	if err != nil {
		t.Fatal(err)
	}
	type member struct {
		kind byte
		mode int64
		link string
		body string
	}
	got := map[string]member{}
	for r := tar.NewReader(bytes.NewReader(content)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = member{h.Typeflag, h.Mode, h.Linkname, string(body)}
	}
	for name, want := range map[string]member{
		"tmp/":   {tar.TypeDir, 0o1777, "", ""},
		"bin/sh": {tar.TypeSymlink, 0o777, "busybox", ""},
		"probe":  {tar.TypeReg, 0o755, "", "elf"},
	} {
		if got[name] != want {
			t.Errorf("%s is %+v, want %+v", name, got[name], want)
		}
	}
}
