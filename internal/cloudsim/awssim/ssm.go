package awssim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// ParameterStore is the part of AWS Systems Manager that keeps parameters, in
// one region. It may be used by several goroutines, and every parameter changed
// while it serves.
type ParameterStore struct {
	JSONService

	mu         sync.Mutex
	parameters map[string]storedParameter // by name; replaced, never changed
	decrypted  int
}

// storedParameter is one parameter with all its versions, the first of which
// is number 1.
type storedParameter struct {
	kind     string // String, StringList, SecureString
	key      string // ARN of the customer's KMS key; empty: AWS's own
	versions []parameterVersion
	labels   map[string]int
}

type parameterVersion struct {
	value   string
	changed time.Time
}

// MaxParameter is the most bytes that an advanced parameter may have; a
// standard one may have half of it.
const MaxParameter = 8192

// NewParameterStore returns the region's Parameter Store, for callers of
// account with these permissions.
func NewParameterStore(account *Account, region string, permissions *Permissions) *ParameterStore {
	s := &ParameterStore{parameters: map[string]storedParameter{}, JSONService: JSONService{
		account: account, permissions: permissions, name: "ssm", region: region, target: "AmazonSSM"}}
	s.operations = map[string]operation{
		"GetParameter": s.getParameter, "GetParameters": s.getParameters, "GetParametersByPath": s.getParametersByPath}
	return s
}

// Put stores a SecureString, or a new version of it, and returns the version's
// number. A name may be the ARN of another account's parameter.
func (s *ParameterStore) Put(name, value string) int { return s.PutKind(name, "SecureString", value) }

// PutKind stores a parameter of any type: String, StringList or SecureString.
func (s *ParameterStore) PutKind(name, kind, value string) int {
	if len(value) > MaxParameter || value == "" {
		panic("awssim: a parameter has 1 to 8192 bytes") // AWS would not have stored it
	}
	version := 0
	s.change(name, func(p *storedParameter) {
		p.kind = kind
		p.versions = append(slices.Clone(p.versions), parameterVersion{value, s.account.env.Now()})
		version = len(p.versions)
	})
	return version
}

// Label moves a label to a version.
func (s *ParameterStore) Label(name, label string, version int) {
	s.change(name, func(p *storedParameter) {
		p.labels = maps.Clone(p.labels)
		if p.labels == nil {
			p.labels = map[string]int{}
		}
		p.labels[label] = version
	})
}

// SetKey encrypts a parameter with a customer's KMS key, by its ARN.
func (s *ParameterStore) SetKey(name, key string) {
	s.change(name, func(p *storedParameter) { p.key = key })
}

// Remove deletes a parameter.
func (s *ParameterStore) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parameters, name)
}

// Reads is how many requests there were for decrypted values; one for several
// values at once.
func (s *ParameterStore) Reads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.decrypted
}

// ARN names a parameter: a slash at the beginning of its name is left out.
func (s *ParameterStore) ARN(name string) string {
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return fmt.Sprintf("arn:aws:ssm:%s:%s:parameter/%s", s.region, s.account.id, strings.TrimPrefix(name, "/"))
}

func (s *ParameterStore) change(name string, how func(*storedParameter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.parameters[name]
	how(&p)
	s.parameters[name] = p
}
