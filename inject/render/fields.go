package render

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
)

// fields is the plaintext that a format works on, in buffers of its own.
type fields map[string][]byte

// gather copies what the want may read: the field that its ref names, and no
// other, or all.
func gather(w workload.Want, s secret.Secret) (fields, error) {
	if field := w.Ref.Field; field != "" {
		value, err := s.Select(field)
		if err != nil {
			return nil, missing(err)
		}
		s.Fields = map[string]secret.Value{field: value}
	}
	f := make(fields, len(s.Fields))
	for name, value := range s.Fields {
		plain := bytes.Clone(value.Reveal()) // what the container is to read is made of it
		if plain == nil {
			plain = []byte{}
		}
		f[name] = plain
		if !w.Format.Base64 {
			continue
		}
		decoded, err := decodeBase64(plain)
		clear(plain)
		if err != nil {
			f.wipe()
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		f[name] = decoded
	}
	return f, nil
}

func (f fields) wipe() {
	for _, plain := range f {
		clear(plain)
	}
}

func (f fields) names() []string { return slices.Sorted(maps.Keys(f)) }

// decodeBase64 reads the standard and the URL alphabet, with and without
// padding, and over several lines.
func decodeBase64(text []byte) ([]byte, error) {
	compact := make([]byte, 0, len(text))
	defer func() { clear(compact) }()
	for _, c := range text {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '-':
			c = '+'
		case '_':
			c = '/'
		}
		compact = append(compact, c)
	}
	unpadded := bytes.TrimRight(compact, "=")
	decoded := make([]byte, base64.RawStdEncoding.DecodedLen(len(unpadded)))
	n, err := base64.RawStdEncoding.Decode(decoded, unpadded)
	if err != nil || len(compact)-len(unpadded) > 2 {
		clear(decoded)
		return nil, errors.New("it is not base64") // the library's error says at which byte, and that is all
	}
	return decoded[:n], nil
}

// raw is the chosen field, or the only one.
func raw(w workload.Want, f fields) ([]byte, error) {
	if len(f) == 1 {
		return bytes.Clone(f[f.names()[0]]), nil
	}
	advice := ""
	if len(f) > 1 {
		advice = fmt.Sprintf(", or give it a format, such as json or dotenv, with the label %sformat.%s", workload.Prefix, w.Name)
	}
	return nil, missing(fmt.Errorf("the secret has %d fields; choose one by adding #<field> to the ref: %s%s",
		len(f), strings.Join(f.names(), ", "), advice))
}

// finish does what the want asks about line breaks at the end, and checks the
// size of what may be delivered.
func finish(content []byte, newline workload.Newline) ([]byte, error) {
	if newline != workload.NewlineKeep {
		content = bytes.TrimRight(content, "\r\n")
	}
	if newline == workload.NewlineAdd {
		longer := append(make([]byte, 0, len(content)+1), content...)
		clear(content)
		content = append(longer, '\n')
	}
	if len(content) > secret.MaxValueSize {
		clear(content)
		return nil, errTooLarge
	}
	return content, nil
}

// missingError carries ErrField beside a message of its own.
type missingError struct{ error }

func (missingError) Is(target error) bool { return target == ErrField }

func missing(err error) error { return missingError{err} }
