package awssim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// The staging labels that AWS itself moves.
const (
	StageCurrent  = "AWSCURRENT"
	StagePrevious = "AWSPREVIOUS"
)

// MaxSecret is the most bytes that one version of a secret may have.
const MaxSecret = 65536

// SecretsManager is AWS Secrets Manager in one region. It may be used by
// several goroutines, and every secret changed while it serves.
type SecretsManager struct {
	JSONService

	mu      sync.Mutex
	secrets map[string]storedSecret // by ARN; replaced, never changed
	seen    map[string]storedSecret // what is answered, while changes have not arrived; nil: secrets
}

// storedSecret is one secret with its versions.
type storedSecret struct {
	arn, name string
	versions  map[string]secretVersion // by ID
	stages    map[string]string        // label → version ID
	key       string                   // ARN of the customer's KMS key; empty: AWS's own
	deleted   bool                     // scheduled for deletion
	shared    []string                 // principals that the secret's own policy allows
}

type secretVersion struct {
	text    string
	binary  []byte
	created time.Time
}

// NewSecretsManager returns the region's Secrets Manager, for callers of
// account with these permissions.
func NewSecretsManager(account *Account, region string, permissions *Permissions) *SecretsManager {
	s := &SecretsManager{secrets: map[string]storedSecret{}, JSONService: JSONService{
		account: account, permissions: permissions, name: "secretsmanager", region: region, target: "secretsmanager"}}
	s.operations = map[string]operation{
		"GetSecretValue": s.getSecretValue, "BatchGetSecretValue": s.batchGetSecretValue, "DescribeSecret": s.describeSecret}
	return s
}

// ARN of a secret, or, when there is none of that name, the one that AWS takes
// for it when it asks for permission.
func (s *SecretsManager) ARN(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arnOf(s.secrets, name)
}

// PutText stores a secret, or makes a new version of it current, and returns
// the version's ID. A name may be a partial ARN of another account, whose
// secret it is then.
func (s *SecretsManager) PutText(name, text string) (version string) {
	return s.put(name, secretVersion{text: text})
}

// PutBinary stores bytes where PutText stores text.
func (s *SecretsManager) PutBinary(name string, content []byte) (version string) {
	return s.put(name, secretVersion{binary: bytes.Clone(content)})
}

// PutVersion makes a version with a given ID current.
func (s *SecretsManager) PutVersion(name, id, text string) {
	s.change(name, func(secret *storedSecret) { secret.add(id, secretVersion{text: text, created: s.account.env.Now()}) })
}

// Copy makes the region a replica of another for one secret: the same ARN
// but for the region, the same versions.
func (s *SecretsManager) Copy(from *SecretsManager, name string) {
	arn := from.ARN(name)
	from.mu.Lock()
	secret := from.secrets[arn]
	from.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	secret.arn = strings.Replace(arn, ":"+from.region+":", ":"+s.region+":", 1)
	s.secrets[secret.arn] = secret
}

// SetStage moves a staging label to a version.
func (s *SecretsManager) SetStage(name, stage, version string) {
	s.change(name, func(secret *storedSecret) { secret.stages[stage] = version })
}

// SetKey encrypts a secret with a customer's KMS key, by its ARN.
func (s *SecretsManager) SetKey(name, key string) {
	s.change(name, func(secret *storedSecret) { secret.key = key })
}

// Share lets a principal of another account read the secret, as far as the
// secret's own policy is concerned.
func (s *SecretsManager) Share(name, principal string) {
	s.change(name, func(secret *storedSecret) { secret.shared = append(slices.Clone(secret.shared), principal) })
}

// Delete schedules a secret for deletion; Restore cancels that.
func (s *SecretsManager) Delete(name string) {
	s.change(name, func(secret *storedSecret) { secret.deleted = true })
}

// Restore undoes Delete.
func (s *SecretsManager) Restore(name string) {
	s.change(name, func(secret *storedSecret) { secret.deleted = false })
}

// SetLagging makes changes made from now on invisible, as they are for a while
// in an eventually consistent store, or lets them all arrive.
func (s *SecretsManager) SetLagging(lagging bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = nil
	if lagging {
		s.seen = maps.Clone(s.secrets)
	}
}

// Reads is how many requests there were for values; one for a batch.
func (s *SecretsManager) Reads() int {
	return s.Count("GetSecretValue", "") + s.Count("BatchGetSecretValue", "")
}

func (s *SecretsManager) put(name string, version secretVersion) (id string) {
	id, version.created = s.account.env.UUID(), s.account.env.Now()
	s.change(name, func(secret *storedSecret) { secret.add(id, version) })
	return id
}

// add makes a version current, and the one that was it the previous one.
func (secret *storedSecret) add(id string, version secretVersion) {
	if len(version.text)+len(version.binary) > MaxSecret {
		panic("awssim: a secret of more than 65536 bytes") // which AWS would not have stored
	}
	if before, was := secret.stages[StageCurrent]; was {
		secret.stages[StagePrevious] = before
	}
	secret.versions[id], secret.stages[StageCurrent] = version, id
}

// change replaces a secret, which is made when there is none, by a changed copy.
func (s *SecretsManager) change(name string, how func(*storedSecret)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	arn := s.arnOf(s.secrets, name)
	secret, found := s.secrets[arn]
	if !found {
		arn = strings.TrimSuffix(arn, unknownSuffix) + "-" + s.account.env.Text(cloudsim.Alphanum, 6)
		secret = storedSecret{arn: arn, name: strings.SplitN(arn, ":", 7)[6]}
		secret.name = secret.name[:len(secret.name)-len("-abcdef")]
	}
	secret.versions, secret.stages = maps.Clone(secret.versions), maps.Clone(secret.stages)
	if secret.versions == nil {
		secret.versions, secret.stages = map[string]secretVersion{}, map[string]string{}
	}
	how(&secret)
	s.secrets[arn] = secret
}

// unknownSuffix ends the ARN of a secret that there is not.
const unknownSuffix = "-??????"

// arnOf finds a secret by its name, its ARN, or its ARN without the six
// characters that AWS adds to the name.
func (s *SecretsManager) arnOf(secrets map[string]storedSecret, id string) string {
	partial := id
	if !strings.HasPrefix(id, "arn:") {
		partial = fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s", s.region, s.account.id, id)
	}
	for arn := range secrets {
		if arn == partial || arn[:len(arn)-len("-abcdef")] == partial {
			return arn
		}
	}
	return partial + unknownSuffix
}
