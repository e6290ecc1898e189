package render

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
)

// The library writes no name for a private key, and Java calls a key without
// one "1". So the name is put into the finished file, whose shape is that of
// RFC 7292, and the file's MAC is made anew.

type pfx struct {
	Version  int
	AuthSafe contentInfo
	MacData  macData
}

type contentInfo struct {
	ContentType asn1.ObjectIdentifier
	Content     asn1.RawValue // [0] around the content
}

type macData struct {
	Mac struct {
		Algorithm asn1.RawValue
		Digest    []byte
	}
	Salt       []byte
	Iterations int
}

type safeBag struct {
	ID         asn1.ObjectIdentifier
	Value      asn1.RawValue
	Attributes []attribute `asn1:"set"`
}

type attribute struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue // a set
}

var oidFriendlyName = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 20}

// nameKey gives the private key of a PKCS #12 file a name. In the library's
// files the key lies in the second of two safes, which is not encrypted as a
// whole.
func nameKey(file []byte, name, password string) ([]byte, error) {
	var outer pfx
	var safes []contentInfo
	var bags []safeBag
	if err := unmarshal(file, &outer); err != nil {
		return nil, err
	}
	if err := outer.AuthSafe.unwrap(&safes); err != nil {
		return nil, err
	}
	if len(safes) != 2 {
		return nil, errNotPFX
	}
	if err := safes[1].unwrap(&bags); err != nil {
		return nil, err
	}
	if len(bags) != 1 {
		return nil, errNotPFX
	}
	friendly, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagBMPString, Bytes: bmp(name)})
	if err != nil {
		return nil, err
	}
	bags[0].Attributes = append(bags[0].Attributes, attribute{oidFriendlyName,
		asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: friendly}})
	if _, err := safes[1].wrap(bags); err != nil {
		return nil, err
	}
	signed, err := outer.AuthSafe.wrap(safes)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, macKey(password, outer.MacData.Salt, outer.MacData.Iterations))
	mac.Write(signed)
	outer.MacData.Mac.Digest = mac.Sum(nil)
	return asn1.Marshal(outer)
}

var errNotPFX = errors.New("the PKCS #12 file has not the shape that its library is known for")

func unmarshal(der []byte, into any) error {
	if rest, err := asn1.Unmarshal(der, into); err != nil || len(rest) > 0 {
		return errNotPFX // the library's error might quote the file
	}
	return nil
}

// unwrap reads what an octet string holds.
func (c contentInfo) unwrap(into any) error {
	var octets []byte
	if err := unmarshal(c.Content.Bytes, &octets); err != nil {
		return err
	}
	return unmarshal(octets, into)
}

// wrap makes content the octet string's, and returns its bytes.
func (c *contentInfo) wrap(content any) ([]byte, error) {
	octets, err := asn1.Marshal(content)
	if err != nil {
		return nil, err
	}
	inner, err := asn1.Marshal(octets)
	c.Content = asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: inner}
	return octets, err
}

// macKey derives the key of the MAC from the password: RFC 7292, appendix B.2,
// for SHA-256 and a key as long as its output, so that one block is enough.
func macKey(password string, salt []byte, iterations int) []byte {
	const block, forMAC = 64, 3
	input := bytes.Repeat([]byte{forMAC}, block)
	for _, part := range [][]byte{salt, append(bmp(password), 0, 0)} {
		padded := (len(part) + block - 1) / block * block
		input = append(input, bytes.Repeat(part, padded/len(part)+1)[:padded]...)
	}
	key := sha256.Sum256(input)
	for range iterations - 1 {
		key = sha256.Sum256(key[:])
	}
	return key[:]
}

// bmp encodes text in two bytes for each character, as names and passwords are.
func bmp(text string) []byte {
	var out []byte
	for _, r := range text {
		if r > 0xffff {
			r = '?' // not in the plane that the format knows
		}
		out = append(out, byte(r>>8), byte(r))
	}
	return out
}
