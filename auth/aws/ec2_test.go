package aws_test

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

// notarised makes the host an instance whose documents are signed.
func notarised(t *testing.T, w *world) {
	t.Helper()
	notary, err := awssim.NewNotary()
	if err != nil {
		t.Fatal(err)
	}
	w.imds = awssim.NewIMDS(w.account, awssim.Instance{ID: "i-0123456789abcdef0", Region: "eu-west-1", Notary: notary})
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", serve(t, w.imds))
}

// nonceOf attests with an attestor of its own, as an agent does that starts.
func nonceOf(t *testing.T, file string) string {
	t.Helper()
	evidence, err := attest(t, aws.Options{Type: aws.EC2, NonceFile: file}, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(evidence.Login["nonce"].Reveal()) // to be compared
}

func TestDocumentOfTheInstance(t *testing.T) {
	notarised(t, newWorld(t))
	evidence, err := attest(t, aws.Options{Type: aws.EC2}, "vault.internal")
	if err != nil {
		t.Fatal(err)
	}
	if evidence.Method != "aws" || evidence.Principal != "i-0123456789abcdef0 of account 111122223333 (eu-west-1)" || evidence.Remark != "" {
		t.Errorf("%+v", evidence)
	}
	der, err := base64.StdEncoding.DecodeString(string(evidence.Login["pkcs7"].Reveal())) // a stand-in signed it
	if err != nil || !strings.Contains(string(der), `"instanceId": "i-0123456789abcdef0"`) {
		t.Errorf("%v: %q", err, der)
	}
	if len(evidence.Login) != 2 || evidence.Login["nonce"].Len() != 64 {
		t.Errorf("%v", evidence.Login)
	}
}

// One nonce for the life of an attestor; with a file, for as long as the file
// lives, however many start at once.
func TestNonce(t *testing.T) {
	notarised(t, newWorld(t))
	attestor, err := aws.New(aws.Options{Type: aws.EC2})
	if err != nil {
		t.Fatal(err)
	}
	first, err := attestor.Attest(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	again, err := attestor.Attest(t.Context(), "")
	if err != nil || !again.Login["nonce"].Equal(first.Login["nonce"]) {
		t.Errorf("another nonce in the same life: %v", err)
	}
	if other := nonceOf(t, ""); other == nonceOf(t, "") {
		t.Error("two lives without a file have the same nonce")
	}
	file := filepath.Join(t.TempDir(), "nonce")
	kept := nonceTogether(t, 8, file)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if nonceOf(t, file) == kept {
		t.Error("the nonce outlived its file")
	}
}

// nonceTogether is the nonce of several attestors that attest at once.
func nonceTogether(t *testing.T, n int, file string) string {
	t.Helper()
	found := make(chan auth.Evidence, n)
	for range n {
		attestor, err := aws.New(aws.Options{Type: aws.EC2, NonceFile: file})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			evidence, err := attestor.Attest(t.Context(), "")
			if err != nil {
				t.Error(err)
			}
			found <- evidence
		}()
	}
	first := (<-found).Login["nonce"]
	for range n - 1 {
		if other := (<-found).Login["nonce"]; !other.Equal(first) || other.Len() == 0 {
			t.Error("two nonces from one file, or none")
		}
	}
	return string(first.Reveal()) // to be compared
}

func TestNonceFileThatIsNoGood(t *testing.T) {
	notarised(t, newWorld(t))
	const secretText = "a nonce that others could read"
	for name, c := range map[string]struct {
		arrange func(file string) error
		want    string
	}{
		"readable by others": {func(file string) error { return os.WriteFile(file, []byte(secretText), 0o644) }, "is -rw-r--r--, not a file for its owner alone: chmod 600 it"},
		"a directory":        {func(file string) error { return os.Mkdir(file, 0o700) }, "not a file for its owner alone"},
		"empty":              {func(file string) error { return os.WriteFile(file, nil, 0o600) }, "holds no nonce of 1 to 128 bytes: delete it"},
		"too long":           {func(file string) error { return os.WriteFile(file, []byte(strings.Repeat(secretText, 5)), 0o600) }, "holds no nonce of 1 to 128 bytes"},
		"no directory":       {func(file string) error { return os.Remove(filepath.Dir(file)) }, "keeping the nonce of ec2 logins: "},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "run", "nonce")
			if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), c.arrange(file)); err != nil {
				t.Fatal(err)
			}
			_, err := attest(t, aws.Options{Type: aws.EC2, NonceFile: file}, "")
			if !errors.Is(err, auth.ErrNoIdentity) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secretText) {
				t.Errorf("%v\ndoes not say %s", err, c.want)
			}
		})
	}
}

func TestNoDocument(t *testing.T) {
	w := newWorld(t) // whose instance has no notary
	if _, err := attest(t, aws.Options{Type: aws.EC2}, ""); !errors.Is(err, auth.ErrNoIdentity) || !strings.Contains(err.Error(), "has no instance-identity/rsa2048: log in with type iam") {
		t.Errorf("%v", err)
	}
	notarised(t, w)
	w.imds.Set("/latest/dynamic/instance-identity/rsa2048", awssim.Throttled)
	if _, err := attest(t, aws.Options{Type: aws.EC2}, ""); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "reading the signed identity document") {
		t.Errorf("%v", err)
	}
	w.imds.Set("/latest/dynamic/instance-identity/rsa2048", cloudsim.Fault{Status: 200, Body: strings.Repeat("x", 1<<20)})
	if _, err := attest(t, aws.Options{Type: aws.EC2}, ""); !errors.Is(err, auth.ErrNoIdentity) || !strings.Contains(err.Error(), "larger than 65536 bytes") {
		t.Errorf("%v", err)
	}
}
