package firstboot

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"

	"github.com/quaymaster/quaymaster/broker/config"
)

// The bounds of user-data: of one text after it is unpacked, of the parts in
// it, and of how deep they lie.
const (
	maxText  = 1 << 20
	maxParts = 100
	maxDepth = 4
)

const cloudConfig = "#cloud-config"

// userData collects the write_files of all parts.
type userData struct {
	origin string
	parts  int
	files  []config.WriteFile
}

// writeFiles returns the write_files of the #cloud-config in data, with their
// contents decoded: what cloud-init would write, in its order. Scripts and
// other kinds of user-data hold none.
func writeFiles(origin string, data []byte) ([]config.WriteFile, error) {
	u := &userData{origin: origin}
	if err := u.text(data, "", 0); err != nil {
		return nil, err
	}
	for i, file := range u.files {
		content, err := decoded(file)
		if err != nil {
			return nil, u.problem("%s: its content: %v", file.Path, err)
		}
		u.files[i].Content = content
	}
	return u.files, nil
}

func (u *userData) problem(format string, args ...any) error {
	return config.Problems{{Place: config.Place{File: u.origin}, Message: fmt.Sprintf(format, args...)}}
}

// text reads one text. merge is how a part's header wants its lists merged.
func (u *userData) text(data []byte, merge string, depth int) error {
	if u.parts++; u.parts > maxParts || depth > maxDepth {
		return u.problem("it has more than %d parts, or parts within parts more than %d deep", maxParts, maxDepth)
	}
	data, err := unpacked(data)
	if err != nil {
		return u.problem("%v", err)
	}
	if bytes.Contains(bytes.ToLower(data[:min(len(data), 4096)]), []byte("mime-version:")) { // as cloud-init tells it
		message, err := mail.ReadMessage(bytes.NewReader(data))
		if err != nil {
			return u.problem("it is no MIME message that can be understood: %v", err)
		}
		return u.part(message.Header.Get, message.Body, depth)
	}
	if first, _, _ := bytes.Cut(data, []byte("\n")); strings.TrimSpace(string(first)) != cloudConfig {
		return nil
	}
	found, err := config.ReadCloudConfig(u.origin, data)
	switch {
	case err != nil:
		return err
	case found.Files == nil: // it says nothing of them
	case u.files == nil:
		u.files = found.Files
	default:
		u.files = merged(u.files, found.Files, found.MergeHow+"+"+merge)
	}
	return nil
}

// part reads a part of a MIME message, or the whole of one.
func (u *userData) part(header func(string) string, body io.Reader, depth int) error {
	kind, params, err := mime.ParseMediaType(header("Content-Type"))
	if err != nil {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") {
		return u.multipart(multipart.NewReader(body, params["boundary"]), depth)
	}
	if kind != "text/cloud-config" && kind != "text/plain" && kind != "text/x-not-multipart" && !strings.HasSuffix(kind, "gzip") {
		return nil
	}
	data, err := bounded(transferred(header("Content-Transfer-Encoding"), body))
	if err != nil {
		return u.problem("a part of it cannot be read: %v", err)
	}
	if kind == "text/cloud-config" && !bytes.HasPrefix(data, []byte(cloudConfig)) { // the header says it, so the text need not
		data = append([]byte(cloudConfig+"\n"), data...)
	}
	return u.text(data, header("Merge-Type")+header("X-Merge-Type"), depth+1)
}

func (u *userData) multipart(parts *multipart.Reader, depth int) error {
	if depth > maxDepth {
		return u.problem("it has parts within parts more than %d deep", maxDepth)
	}
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return u.problem("it is no MIME message that can be understood: %v", err)
		}
		if err := u.part(part.Header.Get, part, depth+1); err != nil {
			return err
		}
	}
}

func transferred(encoding string, body io.Reader) io.Reader {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		return quotedprintable.NewReader(body)
	}
	return body
}

var magic = []byte{0x1f, 0x8b} // RFC 1952

// unpacked takes off gzip, and base64 that somebody put around a text that is
// known here.
func unpacked(data []byte) ([]byte, error) {
	plain, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(data)), ""))
	if err == nil && (bytes.HasPrefix(plain, magic) || bytes.HasPrefix(plain, []byte(cloudConfig))) {
		data = plain
	}
	if bytes.HasPrefix(data, magic) {
		return gunzipped(data)
	}
	return data, nil
}

func gunzipped(data []byte) ([]byte, error) {
	stream, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("not gzip: %w", err)
	}
	return bounded(stream)
}

// bounded reads everything, unless that is too much.
func bounded(from io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(from, maxText+1))
	if err == nil && len(data) > maxText {
		err = fmt.Errorf("larger than %d bytes", maxText)
	}
	return data, err
}

// decoded is the content of a file, by the encodings of cloud-init's module
// write_files.
func decoded(file config.WriteFile) ([]byte, error) {
	content := file.Content
	switch file.Encoding {
	case "", "text/plain":
		return content, nil
	case "gz", "gzip":
		return gunzipped(content)
	case "b64", "base64", "gz+base64", "gzip+base64", "gz+b64", "gzip+b64":
	default:
		return nil, fmt.Errorf("unknown encoding %q: use b64, gz or gz+b64", file.Encoding)
	}
	content, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(content)), ""))
	if err != nil {
		return nil, fmt.Errorf("not base64: %w", err)
	}
	if strings.HasPrefix(file.Encoding, "gz") {
		return gunzipped(content)
	}
	return content, nil
}
