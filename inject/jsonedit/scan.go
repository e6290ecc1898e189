package jsonedit

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// The functions that skip are for text that Parse has accepted: they look for
// the end of a token and check nothing.

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\t' || b == '\r' }
func isDigit(b byte) bool { return '0' <= b && b <= '9' }

func skipSpace(text []byte, at int) int {
	for at < len(text) && isSpace(text[at]) {
		at++
	}
	return at
}

// skipComma goes from the end of an item to the next item or the closing bracket.
func skipComma(text []byte, at int) int {
	at = skipSpace(text, at)
	if text[at] == ',' {
		at = skipSpace(text, at+1)
	}
	return at
}

func skipString(text []byte, at int) int {
	for at++; text[at] != '"'; at++ {
		if text[at] == '\\' {
			at++
		}
	}
	return at + 1
}

func skipValue(text []byte, at int) int {
	switch text[at] {
	case '"':
		return skipString(text, at)
	case '{', '[':
		return skipBrackets(text, at)
	}
	for at < len(text) && !isSpace(text[at]) && text[at] != ',' && text[at] != '}' && text[at] != ']' {
		at++
	}
	return at
}

func skipBrackets(text []byte, at int) int {
	depth := 0
	for {
		switch text[at] {
		case '"':
			at = skipString(text, at)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		at++
		if depth == 0 {
			return at
		}
	}
}

func hexDigit(b byte) rune {
	switch {
	case isDigit(b):
		return rune(b - '0')
	case 'a' <= b && b <= 'f':
		return rune(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return rune(b-'A') + 10
	}
	return -1
}

// unquote decodes a string token that is known to be valid.
func unquote(token []byte) string {
	body := token[1 : len(token)-1]
	var decoded []byte
	kept := 0 // body[:kept] is decoded
	for at := 0; at < len(body); at++ {
		if body[at] != '\\' {
			continue
		}
		decoded = append(decoded, body[kept:at]...)
		r, size := unescape(body[at:])
		decoded = utf8.AppendRune(decoded, r)
		kept = at + size
		at = kept - 1
	}
	if kept == 0 {
		return string(body)
	}
	return string(append(decoded, body[kept:]...))
}

// unescape decodes the escape at the beginning of s and says how long it is.
func unescape(s []byte) (rune, int) {
	switch s[1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		high := hexRune(s[2:6])
		if utf16.IsSurrogate(high) && len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
			if pair := utf16.DecodeRune(high, hexRune(s[8:12])); pair != utf8.RuneError {
				return pair, 12
			}
		}
		return high, 6 // half a pair is encoded as U+FFFD by utf8.AppendRune
	}
	return rune(s[1]), 2
}

func hexRune(digits []byte) (r rune) {
	for _, b := range digits {
		r = r<<4 | hexDigit(b)
	}
	return r
}

// Quote writes text as a JSON string. JSON can express valid UTF-8 only: any
// other byte becomes U+FFFD, so check first what must arrive unchanged.
func Quote(text string) string { return string(AppendQuote(nil, text)) }

// AppendQuote appends what Quote returns to dst.
func AppendQuote(dst []byte, text string) []byte {
	dst = append(dst, '"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r < ' ' || r == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', '0'+byte(r>>4))
			dst = strconv.AppendInt(dst, int64(r&0xf), 16)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
