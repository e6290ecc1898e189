package render

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"text/template"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// run is one execution of a template: what it may still do, and where its
// further secrets come from.
type run struct {
	left   int
	lookup func(secret.Ref) (secret.Value, error)
}

// functions are all that a template has beside comparisons and logic. Those of
// text/template that make text are replaced, so that what they make is counted.
// A step is not among them: only the compiler writes one.
func (r *run) functions() template.FuncMap {
	return template.FuncMap{
		functionSecret: r.secret,
		"json":         r.json, "b64": r.b64, "b64dec": r.b64dec,
		"pem": r.pem, "certs": r.certs, "key": r.key,
		"sh": r.sh, "dotenv": r.dotenv,
		"upper":  func(s string) (string, error) { return r.made(strings.ToUpper(s)) },
		"lower":  func(s string) (string, error) { return r.made(strings.ToLower(s)) },
		"trim":   func(s string) (string, error) { return r.made(strings.TrimSpace(s)) },
		"indent": r.indent, "default": byDefault,
		"print": r.print, "printf": r.printf, "println": r.println,
		"html":     r.escape(template.HTMLEscaper),
		"js":       r.escape(template.JSEscaper),
		"urlquery": r.escape(template.URLQueryEscaper),
	}
}

// spend takes n from what may still be done.
func (r *run) spend(n int) error {
	if n < 0 || n > r.left {
		r.left = 0
		return fail("the template does too much: more than %d bytes are carried out or made", maxWork)
	}
	r.left -= n
	return nil
}

// made counts a result.
func (r *run) made(s string) (string, error) { return s, r.spend(len(s)) }

// step counts a list of parts that begins. It prints nothing.
func (r *run) step(weight int, location string) (string, error) {
	if err := r.spend(max(weight, stepWeight)); err != nil {
		return "", failure{error: err, where: location}
	}
	return "", nil
}

// secret returns the value of a further ref, which is a literal: see compile.
func (r *run) secret(text string) (string, error) {
	ref, err := secret.ParseRef(text)
	if err != nil {
		return "", failure{error: err}
	}
	if r.lookup == nil {
		return "", fail("%s cannot be read here", ref)
	}
	value, err := r.lookup(ref)
	if err != nil {
		return "", failure{error: err}
	}
	return r.made(string(value.Reveal())) // the template asks for it by name
}

// json writes text as a JSON string, and . as an object.
func (r *run) json(v any) (string, error) {
	var out output
	switch v := v.(type) {
	case string:
		if !utf8.ValidString(v) {
			return "", fail("json: it is not text, and JSON can hold nothing else")
		}
		quoteJSON(&out, []byte(v))
	case map[string]string:
		f := fields{}
		for name, value := range v {
			f[name] = []byte(value)
		}
		defer f.wipe()
		out.bytes, out.err = jsonObject(f)
	default:
		return "", fail("json takes text, or . for all fields")
	}
	return r.collect(out)
}

// collect makes what out holds a result.
func (r *run) collect(out output) (string, error) {
	text, err := out.done()
	if err != nil {
		return "", failure{error: err}
	}
	defer clear(text)
	return r.made(string(text))
}

func (r *run) b64(s string) (string, error) {
	return r.made(base64.StdEncoding.EncodeToString([]byte(s)))
}

func (r *run) b64dec(s string) (string, error) {
	decoded, err := decodeBase64([]byte(s))
	if err != nil {
		return "", fail("b64dec: %w", err)
	}
	defer clear(decoded)
	return r.made(string(decoded))
}

// pem returns all blocks of its arguments, each whole and on lines of its own,
// as a program expects that reads certificate, chain and key from one file.
func (r *run) pem(texts ...string) (string, error) {
	return r.blocks("pem", texts, func(string) bool { return true })
}

// certs is pem for certificates only.
func (r *run) certs(texts ...string) (string, error) {
	return r.blocks("certs", texts, func(kind string) bool { return kind == blockCertificate })
}

// key is pem for private keys only.
func (r *run) key(texts ...string) (string, error) {
	return r.blocks("key", texts, func(kind string) bool { return strings.HasSuffix(kind, blockKey) })
}

func (r *run) blocks(function string, texts []string, wanted func(kind string) bool) (string, error) {
	var out output
	for _, text := range texts {
		all, err := blocks([]byte(text))
		if err != nil {
			return "", fail("%s: %w", function, err)
		}
		for _, block := range all {
			if wanted(block.Type) {
				out.addBlock(block)
			}
		}
	}
	if out.err == nil && len(out.bytes) == 0 {
		return "", fail("%s: there is nothing of that kind in PEM", function)
	}
	return r.collect(out)
}

func (o *output) addBlock(block *pem.Block) {
	if err := pem.Encode(o, block); err != nil && o.err == nil {
		o.err = fail("a block of PEM cannot be written")
	}
}

// sh quotes text as one word of a shell.
func (r *run) sh(s string) (string, error) {
	if strings.Contains(s, "\x00") {
		return "", fail("sh: no shell can hold a zero byte")
	}
	return r.made("'" + strings.ReplaceAll(s, "'", `'\''`) + "'")
}

// dotenv quotes text as a value in a dotenv file.
func (r *run) dotenv(s string) (string, error) {
	if strings.Contains(s, "\x00") {
		return "", fail("dotenv: no variable can hold a zero byte")
	}
	var out output
	quoteDotenv(&out, []byte(s))
	return r.collect(out)
}

// indent puts n spaces before each line that is not empty.
func (r *run) indent(n int, s string) (string, error) {
	if n < 0 || n > 100 {
		return "", fail("indent: %d is not between 0 and 100", n)
	}
	var out output
	for line := range bytes.Lines([]byte(s)) {
		if len(bytes.TrimRight(line, "\r\n")) > 0 {
			out.text(strings.Repeat(" ", n))
		}
		out.add(line...)
	}
	return r.collect(out)
}

// byDefault returns value, or instead when there is none.
func byDefault(instead, value string) string {
	if value == "" {
		return instead
	}
	return value
}
