package awssim_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

// The signature is one that others than the notary can verify. That the
// document and its signature in one are PKCS#7 is for a real Vault to say, in
// the login table of auth/aws.
func TestNotary(t *testing.T) {
	notary, err := awssim.NewNotary()
	if err != nil {
		t.Fatal(err)
	}
	account := newAccount(nil)
	service := awssim.NewIMDS(account, awssim.Instance{ID: instanceID, Region: "eu-west-1", Notary: notary})
	url := start(t, service, cloudsim.Options{})
	_, _, session := raw(t, "PUT", url+"/latest/api/token", ttlHeader, "60")
	read := func(name string) string {
		t.Helper()
		status, _, body := raw(t, "GET", url+"/latest/dynamic/instance-identity/"+name, tokenHeader, session)
		if status != 200 {
			t.Fatalf("%s: %d", name, status)
		}
		return body
	}
	document := read("document")
	block, _ := pem.Decode(notary.PEM())
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(read("signature"), "\n", ""))
	if err != nil || certificate.CheckSignature(x509.SHA256WithRSA, []byte(document), signature) != nil {
		t.Errorf("the signature does not verify: %v", err)
	}
	signed, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(read("rsa2048"), "\n", ""))
	if err != nil || !bytes.Contains(signed, []byte(document)) || !bytes.HasSuffix(signed, signature) {
		t.Errorf("not the document and its signature in one: %v", err)
	}
}

// A stop and a start change the document, a reboot does not.
func TestPendingTime(t *testing.T) {
	c := newClock()
	service, _, url := metadata(t, c)
	before, err := sdk(url).GetInstanceIdentityDocument(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.move(time.Hour)
	service.Relaunch()
	after, err := sdk(url).GetInstanceIdentityDocument(t.Context(), nil)
	if err != nil || !after.PendingTime.Equal(before.PendingTime.Add(time.Hour)) {
		t.Errorf("%v, %v", after.PendingTime, err)
	}
}
