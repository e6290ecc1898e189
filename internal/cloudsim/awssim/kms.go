package awssim

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// KMS is AWS's Key Management Service in one region, with symmetric keys. It
// may be used by several goroutines, and every key changed while it serves.
type KMS struct {
	JSONService

	mu      sync.Mutex
	keys    map[string]*kmsKey // by ARN
	aliases map[string]string  // alias/name → ARN
}

// kmsKey is one key. Its policy lets the account decide by IAM policies, as the
// default one does, unless it names principals.
type kmsKey struct {
	arn    string
	aead   cipher.AEAD
	state  string // Enabled, Disabled, PendingDeletion, Unavailable
	policy []string
}

// States of a key that is not enabled.
const (
	KeyEnabled         = "Enabled"
	KeyDisabled        = "Disabled"
	KeyPendingDeletion = "PendingDeletion"
	KeyUnavailable     = "Unavailable" // its key store outside AWS does not answer
)

// NewKMS returns the region's KMS, for callers of account with these permissions.
func NewKMS(account *Account, region string, permissions *Permissions) *KMS {
	k := &KMS{keys: map[string]*kmsKey{}, aliases: map[string]string{}, JSONService: JSONService{
		account: account, permissions: permissions, name: "kms", region: region, target: "TrentService"}}
	k.operations = map[string]operation{"Encrypt": k.encrypt, "Decrypt": k.decrypt}
	return k
}

// AddKey creates a key, and an alias of it if that is not empty, as in
// "alias/boot". It returns the key's ARN.
func (k *KMS) AddKey(alias string) (arn string) {
	material := make([]byte, 32)
	rand.Read(material) // never fails
	block, err := aes.NewCipher(material)
	if err != nil {
		panic(err) // it has 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has blocks of 16 bytes
	}
	arn = k.account.KeyARN(k.region, k.account.env.UUID())
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[arn] = &kmsKey{arn: arn, aead: aead, state: KeyEnabled}
	if alias != "" {
		k.aliases[alias] = arn
	}
	return arn
}

// SetState enables a key, or makes it one of the others.
func (k *KMS) SetState(arn, state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[arn].state = state
}

// SetPolicy gives a key a policy that names principals, by their ARNs, and
// nobody else; none: the default one, with which IAM policies decide.
func (k *KMS) SetPolicy(arn string, principals ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[arn].policy = principals
}

type kmsRequest struct {
	KeyID             string `json:"KeyId"`
	Plaintext         []byte
	CiphertextBlob    []byte
	EncryptionContext map[string]string
}

type kmsAnswer struct {
	KeyID               string `json:"KeyId"`
	Plaintext           []byte `json:",omitempty"`
	CiphertextBlob      []byte `json:",omitempty"`
	EncryptionAlgorithm string
}

func (k *KMS) encrypt(caller issued, body []byte) (any, error) {
	request, err := read[kmsRequest](body)
	if err != nil {
		return nil, err
	}
	if n := len(request.Plaintext); n < 1 || n > 4096 {
		return nil, badRequest("ValidationException", "Value at 'plaintext' failed to satisfy constraint")
	}
	key, err := k.usable(caller, "kms:Encrypt", request.KeyID)
	if err != nil {
		return nil, err
	}
	blob := key.aead.Seal([]byte(key.arn+"\n"), nil, request.Plaintext, additional(key.arn, request.EncryptionContext))
	return kmsAnswer{KeyID: key.arn, CiphertextBlob: blob, EncryptionAlgorithm: "SYMMETRIC_DEFAULT"}, nil
}

// decrypt finds the key by what it encrypted, as AWS does; a key that the
// request names must be the same.
func (k *KMS) decrypt(caller issued, body []byte) (any, error) {
	request, err := read[kmsRequest](body)
	if err != nil {
		return nil, err
	}
	if n := len(request.CiphertextBlob); n < 1 || n > 6144 {
		return nil, badRequest("ValidationException", "Value at 'ciphertextBlob' failed to satisfy constraint")
	}
	arn, rest, whole := strings.Cut(string(request.CiphertextBlob), "\n")
	if _, known := k.find(arn); !known || !whole {
		return nil, badRequest("InvalidCiphertextException", "")
	}
	if request.KeyID != "" {
		named, known := k.find(request.KeyID)
		if known && named.arn != arn {
			return nil, badRequest("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
		}
	}
	key, err := k.usable(caller, "kms:Decrypt", arn)
	if err != nil {
		return nil, err
	}
	plain, err := key.aead.Open(nil, nil, []byte(rest), additional(arn, request.EncryptionContext))
	if err != nil {
		return nil, badRequest("InvalidCiphertextException", "")
	}
	return kmsAnswer{KeyID: arn, Plaintext: plain, EncryptionAlgorithm: "SYMMETRIC_DEFAULT"}, nil
}

// additional is what is authenticated with what is encrypted.
func additional(arn string, context map[string]string) []byte {
	text, err := json.Marshal(context) // which sorts them
	if err != nil {
		panic(err) // strings have a text
	}
	return append([]byte(arn+"\n"), text...)
}

// find returns a copy of the key that is named by its ARN, its ID or an alias.
func (k *KMS) find(id string) (kmsKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if arn, isAlias := k.aliases[id[strings.LastIndex(id, ":")+1:]]; isAlias {
		id = arn
	} else if !strings.HasPrefix(id, "arn:") {
		id = k.account.KeyARN(k.region, id)
	}
	key, known := k.keys[id]
	if !known {
		return kmsKey{}, false
	}
	return *key, true
}

// usable is a key in a state to be used, for a caller who may.
func (k *KMS) usable(caller issued, action, id string) (kmsKey, error) {
	key, known := k.find(id)
	switch {
	case !known:
		return key, badRequest("NotFoundException", "Key '%s' does not exist", k.account.KeyARN(k.region, id))
	case key.policy != nil && !slices.Contains(key.policy, caller.entity.arn):
		return key, badRequest("AccessDeniedException", "User: %s is not authorized to perform: %s on resource: %s because no resource-based policy allows the %s action",
			caller.arn, action, key.arn, action)
	case key.policy == nil:
		if err := k.permissions.check(caller, action, key.arn, nil); err != nil {
			return key, err
		}
	}
	switch key.state {
	case KeyDisabled:
		return key, badRequest("DisabledException", "%s is disabled.", key.arn)
	case KeyPendingDeletion:
		return key, badRequest("KMSInvalidStateException", "%s is pending deletion.", key.arn)
	case KeyUnavailable:
		return key, &refusal{http.StatusInternalServerError, "KeyUnavailableException", ""}
	}
	return key, nil
}
