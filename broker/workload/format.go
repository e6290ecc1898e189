package workload

import (
	"errors"
	"fmt"
	"strings"
)

// Format is the form that a secret's content takes.
type Format struct {
	Kind     FormatKind
	Template string // of FormatTemplate: the name of a template on the host
	// Base64 says that values are kept in base64 and wanted decoded.
	Base64  bool
	Newline Newline
}

// FormatKind is how fields become content.
type FormatKind string

// The formats. FormatAuto is that of a want that says nothing: a certificate
// with its key becomes FormatPEM when no field is chosen, all else FormatRaw.
const (
	FormatAuto     FormatKind = ""
	FormatRaw      FormatKind = "raw"      // the chosen field, byte for byte
	FormatJSON     FormatKind = "json"     // all fields as one object
	FormatDotenv   FormatKind = "dotenv"   // all fields as NAME=value lines
	FormatPEM      FormatKind = "pem"      // a directory with tls.crt, tls.key, ca.crt
	FormatPKCS12   FormatKind = "pkcs12"   // a directory with keystore.p12, truststore.p12
	FormatJKS      FormatKind = "jks"      // a directory with keystore.jks, truststore.jks
	FormatTemplate FormatKind = "template" // whatever the template makes of them
)

// Newline is what is done about a line break at the end of content.
type Newline string

// The ways.
const (
	NewlineKeep  Newline = ""      // as it comes
	NewlineAdd   Newline = "add"   // content ends in exactly one
	NewlineStrip Newline = "strip" // content ends in none
)

// formats are the kinds that a label can name, in the order of the docs.
const formats = "raw, json, dotenv, pem, pkcs12, jks and template:<name>"

// directory reports whether the format makes a directory of files.
func (f Format) directory() bool {
	return f.Kind == FormatPEM || f.Kind == FormatPKCS12 || f.Kind == FormatJKS
}

// parseFormat reads kind[,option…].
func parseFormat(text string) (Format, error) {
	parts := strings.Split(text, ",")
	f, err := parseKind(strings.TrimSpace(parts[0]))
	if err != nil {
		return Format{}, err
	}
	for _, option := range parts[1:] {
		if err := f.option(strings.TrimSpace(option)); err != nil {
			return Format{}, err
		}
	}
	return f, nil
}

func parseKind(text string) (Format, error) {
	kind, template, isTemplate := strings.Cut(text, ":")
	switch f := (Format{Kind: FormatKind(kind)}); f.Kind {
	case FormatRaw, FormatJSON, FormatDotenv, FormatPEM, FormatPKCS12, FormatJKS:
		if isTemplate {
			return Format{}, fmt.Errorf("%s takes no argument: %q; options are written after a comma", kind, template)
		}
		return f, nil
	case FormatTemplate:
		f.Template = template
		return f, checkTemplateName(template)
	case "base64", "newline", "no-newline":
		return Format{}, fmt.Errorf("%s is an option, and stands after a format: write raw,%s", kind, kind)
	}
	return Format{}, fmt.Errorf("%q is not a format; they are %s", text, formats)
}

func (f *Format) option(text string) error {
	newline := NewlineKeep
	switch text {
	case "base64":
		f.Base64 = true
		return nil
	case "newline":
		newline = NewlineAdd
	case "no-newline":
		newline = NewlineStrip
	default:
		return fmt.Errorf("%q is not an option; they are base64, newline and no-newline", text)
	}
	if f.Kind == FormatPKCS12 || f.Kind == FormatJKS {
		return fmt.Errorf("%s is not text: %s means nothing there", f.Kind, text)
	}
	if f.Newline != NewlineKeep && f.Newline != newline {
		return errors.New("newline and no-newline exclude each other")
	}
	f.Newline = newline
	return nil
}

// checkTemplateName allows names that are a file's name on the host and need
// no quoting anywhere.
func checkTemplateName(name string) error {
	if name == "" {
		return errors.New("which template? Write template:<name>")
	}
	for _, c := range []byte(name) {
		if strings.IndexByte("-_.", c) < 0 && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return fmt.Errorf("%q is not the name of a template: use letters, digits, dots, dashes and underscores", name)
		}
	}
	if name[0] == '.' || len(name) > 128 {
		return fmt.Errorf("%q is not the name of a template: it begins with a dot or has more than 128 characters", name)
	}
	return nil
}
