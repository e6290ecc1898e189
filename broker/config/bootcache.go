package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// BootCache says what the key is sealed with under which secrets are kept for
// a boot at which no store answers. The zero BootCache means that no secret is
// ever kept on a disk.
type BootCache struct {
	Key   string `yaml:"key"`
	KeyID string `yaml:"key_id"` // which key of the cloud; of KeySystemdCreds: none
}

// The keys of a boot cache.
const (
	KeySystemdCreds = "systemd-creds" // the machine's own, in its TPM 2 where there is one
	KeyAWSKMS       = "aws-kms"
	KeyAzure        = "azure-key"
	KeyGCPKMS       = "gcp-kms"
)

// The forms of a cloud key's name, as its own API takes it.
var (
	awsKey = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/|alias/)[a-zA-Z0-9/_-]+$`)
	gcpKey = regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$`)
	// azureKeyPath is that of a key, and of one version of it, below the vault.
	azureKeyPath = regexp.MustCompile(`^/keys/[a-zA-Z0-9-]+(/[a-zA-Z0-9]+)?$`)
)

// keyIdentity is the identity that may use a cloud's key.
var keyIdentity = map[string]string{KeyAWSKMS: IdentityAWS, KeyAzure: IdentityAzure, KeyGCPKMS: IdentityGCP}

func (l *loader) checkBootCache() {
	const key = "boot_cache"
	_, given := l.places[key]
	l.checkBootCacheGrants(given)
	if !given || l.refused[key] {
		return
	}
	b, known := l.config.BootCache, []string{KeySystemdCreds, KeyAWSKMS, KeyAzure, KeyGCPKMS}
	switch {
	case !l.required(key+".key", b.Key, "what the kept secrets are sealed with: one of "+strings.Join(known, ", ")):
	case !slices.Contains(known, b.Key):
		l.oneOf(key+".key", b.Key, known...)
	case b.Key == KeySystemdCreds:
		if b.KeyID != "" {
			l.fault(key+".key_id", "%q: the machine has one key, which has no name: leave it out", b.KeyID)
		}
	default:
		l.checkCloudKey(key, b)
	}
}

// checkCloudKey: the key must be one that the host's own identity can use.
func (l *loader) checkCloudKey(key string, b BootCache) {
	clouds := []string{IdentityAWS, IdentityAzure, IdentityGCP}
	if own := l.config.Identity; own != keyIdentity[b.Key] && slices.Contains(clouds, own) {
		l.fault(key+".key", "%q is used with the identity %s, and this host's is %s: use systemd-creds, or that cloud's own", b.Key, keyIdentity[b.Key], own)
	}
	if !l.required(key+".key_id", b.KeyID, "which key of "+b.Key) {
		return
	}
	var err error
	switch {
	case b.Key == KeyAWSKMS && !awsKey.MatchString(b.KeyID):
		err = errors.New("is neither the ARN nor the alias of a key, as in arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab or alias/quaymaster")
	case b.Key == KeyGCPKMS && !gcpKey.MatchString(b.KeyID):
		err = errors.New("is not the name of a key, as in projects/shop/locations/europe-west1/keyRings/hosts/cryptoKeys/quaymaster")
	case b.Key == KeyAzure:
		err = checkAzureKey(b.KeyID)
	}
	if err != nil {
		l.fault(key+".key_id", "%q %v", b.KeyID, err)
	}
}

func checkAzureKey(id string) error {
	u, err := url.Parse(id)
	if err != nil || !azureKeyPath.MatchString(u.Path) || checkAddress(id) != nil {
		return errors.New("is not the URL of a key, as in https://shop-kv.vault.azure.net/keys/quaymaster")
	}
	return nil
}

// checkBootCacheGrants: a grant and the block need each other.
func (l *loader) checkBootCacheGrants(given bool) {
	used := false
	for i, grant := range l.config.Grants {
		used = used || grant.BootCache
		if grant.BootCache && !given && !l.refused["boot_cache"] {
			l.fault(fmt.Sprintf("grants[%d].boot_cache", i), "true, and there is no boot_cache block: say there what the kept secrets are sealed with, as in boot_cache: {key: systemd-creds}")
		}
	}
	if given && !used {
		l.warnings = append(l.warnings, Problem{Place: l.place("boot_cache"), Key: "boot_cache",
			Message: "boot_cache: no grant has boot_cache: true, so nothing will be kept"})
	}
}
