package gcpsim

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// KMS is cloudkms.googleapis.com, with symmetric keys of one version. It may be
// used by several goroutines.
type KMS struct {
	cloudsim.Faults   // by URL path
	cloudsim.Requests // the operation is "encrypt" or "decrypt", the path is the key's

	cloud *Cloud
	keys  map[string]*cryptoKey // by resource name; guarded by the cloud's lock
	harm  string                // what is done to answers: see Harm
	mux   *http.ServeMux
}

type cryptoKey struct {
	aead  cipher.AEAD
	state VersionState
}

// NewKMS returns the KMS of a cloud.
func NewKMS(cloud *Cloud) *KMS {
	k := &KMS{cloud: cloud, keys: map[string]*cryptoKey{}, mux: http.NewServeMux()}
	k.mux.Handle("POST /v1/projects/{project}/locations/{location}/keyRings/{ring}/cryptoKeys/{action}", cloud.serve(k.answer))
	return k
}

// AddKey creates a key and returns its name:
// projects/P/locations/L/keyRings/R/cryptoKeys/K.
func (k *KMS) AddKey(name string) error {
	material := make([]byte, 32)
	rand.Read(material) // never fails
	block, err := aes.NewCipher(material)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return err
	}
	k.cloud.mu.Lock()
	defer k.cloud.mu.Unlock()
	k.keys[name] = &cryptoKey{aead, Enabled}
	return nil
}

// SetKeyState changes what may be done with the key's version.
func (k *KMS) SetKeyState(name string, state VersionState) {
	k.cloud.mu.Lock()
	defer k.cloud.mu.Unlock()
	k.keys[name].state = state
}

// What may happen to bytes on their way.
const (
	HarmRequest = "request" // they arrive as others than were sent
	HarmAnswer  = "answer"  // what is answered is not what its checksum is of
)

// Harm damages what is sent, so that checksums do not match; empty: no more.
func (k *KMS) Harm(what string) {
	k.cloud.mu.Lock()
	defer k.cloud.mu.Unlock()
	k.harm = what
}

// ServeHTTP implements http.Handler.
func (k *KMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, operation, _ := strings.Cut(r.URL.Path, ":")
	k.Record(operation, path)
	if k.Strike(w, r, path) {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	k.mux.ServeHTTP(w, r)
}

// kmsRequest is EncryptRequest and DecryptRequest of the REST API (v1).
type kmsRequest struct {
	Plaintext     []byte `json:"plaintext"`
	PlaintextSum  string `json:"plaintextCrc32c"`
	Ciphertext    []byte `json:"ciphertext"`
	CiphertextSum string `json:"ciphertextCrc32c"`
	Additional    []byte `json:"additionalAuthenticatedData"`
	AdditionalSum string `json:"additionalAuthenticatedDataCrc32c"`
}

// answer checks who asks, who may, and what is there, in Google's order.
func (k *KMS) answer(r *http.Request) (any, error) {
	caller, err := k.cloud.caller(r)
	if err != nil {
		return nil, err
	}
	id, operation, _ := strings.Cut(r.PathValue("action"), ":")
	name := fmt.Sprintf("projects/%s/locations/%s/keyRings/%s/cryptoKeys/%s", r.PathValue("project"), r.PathValue("location"), r.PathValue("ring"), id)
	use := map[string]string{"encrypt": "useToEncrypt", "decrypt": "useToDecrypt"}[operation]
	if use == "" {
		return nil, notFound("Requested entity was not found.")
	}
	if permission := "cloudkms.cryptoKeyVersions." + use; !k.cloud.may(caller.email, permission, "projects/"+r.PathValue("project"), name) {
		return nil, mayNot(permission, "resource '"+name+"'")
	}
	key, known := k.keys[name]
	if !known {
		return nil, notFound("CryptoKey " + name + " not found.")
	}
	if key.state != Enabled {
		return nil, &refusal{http.StatusBadRequest, "FAILED_PRECONDITION", "KEY_DISABLED",
			name + "/cryptoKeyVersions/1 is not enabled, current state is: " + string(key.state) + "."}
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	var request kmsRequest
	if err := decoder.Decode(&request); err != nil {
		return nil, invalid("Invalid JSON payload received.")
	}
	if operation == "encrypt" {
		return k.encrypt(name, key, request)
	}
	return k.decrypt(key, request)
}

func (k *KMS) encrypt(name string, key *cryptoKey, request kmsRequest) (any, error) {
	verified := k.matches(request.Plaintext, request.PlaintextSum)
	if !verified || !k.matches(request.Additional, request.AdditionalSum) {
		return nil, invalid("The checksum in field plaintext_crc32c did not match the data in field plaintext.")
	}
	ciphertext := key.aead.Seal([]byte{0x0a, 0x24, 0}, nil, request.Plaintext, request.Additional)
	return map[string]any{"name": name + "/cryptoKeyVersions/1", "ciphertext": ciphertext, "ciphertextCrc32c": k.sum(ciphertext), "protectionLevel": "SOFTWARE",
		"verifiedPlaintextCrc32c": request.PlaintextSum != "", "verifiedAdditionalAuthenticatedDataCrc32c": request.AdditionalSum != ""}, nil
}

func (k *KMS) decrypt(key *cryptoKey, request kmsRequest) (any, error) {
	if !k.matches(request.Ciphertext, request.CiphertextSum) || !k.matches(request.Additional, request.AdditionalSum) {
		return nil, invalid("The checksum in field ciphertext_crc32c did not match the data in field ciphertext.")
	}
	failed := invalid("Decryption failed: verify that 'name' refers to the correct CryptoKey.")
	if len(request.Ciphertext) < 3 || string(request.Ciphertext[:3]) != "\x0a\x24\x00" {
		return nil, failed
	}
	plaintext, err := key.aead.Open(nil, nil, request.Ciphertext[3:], request.Additional)
	if err != nil {
		return nil, failed
	}
	return map[string]any{"plaintext": plaintext, "plaintextCrc32c": k.sum(plaintext), "usedPrimary": true, "protectionLevel": "SOFTWARE"}, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// matches reports whether a checksum is that of content; none always is.
func (k *KMS) matches(content []byte, sum string) bool {
	return sum == "" || (k.harm != HarmRequest && sum == strconv.FormatUint(uint64(crc32.Checksum(content, castagnoli)), 10))
}

func (k *KMS) sum(content []byte) string {
	sum := crc32.Checksum(content, castagnoli)
	if k.harm == HarmAnswer {
		sum ^= 1
	}
	return strconv.FormatUint(uint64(sum), 10)
}
