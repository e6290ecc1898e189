package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// The selector keys that a grant may use; the last two stand for families.
// They are those of package workload, which is on the same layer as this one.
var (
	selectors        = []string{"compose.project", "compose.service", "image.ref", "name", "swarm.node", "swarm.service", "user"}
	labelPrefix      = "label."
	imageLabelPrefix = "image.label."
)

func (l *loader) checkGrants() {
	if _, given := l.places["grants"]; !given || len(l.config.Grants) == 0 {
		l.warnings = append(l.warnings, Problem{Place: l.place("grants"), Key: "grants",
			Message: "no grants: every labelled container will be refused"})
	}
	first := map[string]string{} // name → key of its name
	for i, grant := range l.config.Grants {
		key := fmt.Sprintf("grants[%d]", i)
		if l.required(key+".name", grant.Name, "it is what reasons and audit records call the grant") {
			if before, twice := first[grant.Name]; twice {
				l.fault(key+".name", "grant %q is defined twice: at %s and at %s", grant.Name, l.place(before), l.place(key+".name"))
			} else {
				first[grant.Name] = key + ".name"
			}
		}
		l.checkWorkloads(key+".workloads", grant.Workloads)
		l.checkSecrets(key+".secrets", grant.Secrets)
		l.checkGrantLogin(key+".vault", grant)
	}
}

// checkGrantLogin: a login of its own is for secrets that Vault keeps.
func (l *loader) checkGrantLogin(key string, grant Grant) {
	if _, given := l.places[key]; !given || l.refusedWithin(key) {
		return
	}
	if grant.Vault.Role == "" && len(grant.Vault.Policies) == 0 {
		l.fault(key, "says nothing: give a role, a list of policies, or both")
	}
	if l.config.IsStatic() && grant.Vault.Role != "" {
		l.fault(key+".role", "%q: a static identity is one login and cannot be another role: leave it out, and give policies", grant.Vault.Role)
	}
	vaults := l.config.Vaults()
	if !slices.ContainsFunc(grant.Secrets, func(p secret.Pattern) bool { _, isVault := vaults[p.Provider()]; return isVault }) {
		l.fault(key, "is for secrets that a Vault keeps, and this grant names none")
	}
}

func (l *loader) checkWorkloads(key string, workloads map[string]string) {
	if l.refusedWithin(key) {
		return
	}
	if len(workloads) == 0 {
		l.fault(key, "no selector: the grant would match every container; name one, as in {compose.project: shop}")
		return
	}
	byImageAlone := true
	for _, selector := range slices.Sorted(maps.Keys(workloads)) {
		_, isImageLabel := named(selector, imageLabelPrefix)
		_, isLabel := named(selector, labelPrefix)
		if !isImageLabel && !isLabel && !slices.Contains(selectors, selector) {
			l.fault(key+"."+selector, "unknown selector %q; the selectors are %s, %s<key> and %s<key>",
				selector, strings.Join(selectors, ", "), labelPrefix, imageLabelPrefix)
		}
		byImageAlone = byImageAlone && isImageLabel
	}
	if byImageAlone {
		l.fault(key, "only %s selectors: what an image says of itself is never enough to get a secret; "+
			"add one that the image does not choose, as in {image.ref: \"shop/*\"}", imageLabelPrefix)
	}
}

// named returns what follows prefix in selector, and whether anything does.
func named(selector, prefix string) (string, bool) {
	name, found := strings.CutPrefix(selector, prefix)
	return name, found && name != ""
}

// configured returns the names of the providers that there are.
func (l *loader) configured() []string {
	names := slices.Sorted(maps.Keys(l.config.Providers))
	if _, given := l.places["vault"]; given {
		names = append([]string{BuiltinVault}, names...)
	}
	return names
}

func (l *loader) checkSecrets(key string, patterns []secret.Pattern) {
	if len(patterns) == 0 && !l.refused[key] {
		l.fault(key, "no pattern: the grant would give nothing; name a secret, as in [\"vault:kv/shop/db\"]")
	}
	configured := l.configured()
	for i, pattern := range patterns {
		if name := pattern.Provider(); name != "" && !slices.Contains(configured, name) {
			l.fault(fmt.Sprintf("%s[%d]", key, i), "pattern %q: there is no provider %q; configured: %s",
				pattern, name, strings.Join(configured, ", "))
		}
	}
}
