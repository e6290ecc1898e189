package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// reader reads one parsed file into the loader's configuration.
type reader struct {
	*loader
	file string
}

// read takes over the value of one key. Only its form is judged here: what it
// means may depend on files that are still to come.
type read func(key string, node ast.Node)

// fields are the keys that a mapping may have.
type fields map[string]read

func (r *reader) root(node ast.Node) {
	c := &r.config
	r.mapping("", node, fields{
		"identity":              r.text(&c.Identity),
		"vault":                 r.block(r.vault(&c.Vault)),
		"providers":             r.providers,
		"grants":                r.grants,
		"aws":                   r.block(fields{"login": r.text(&c.AWS.Login)}),
		"azure":                 r.block(fields{"client_id": r.text(&c.Azure.ClientID)}),
		"gcp":                   r.block(fields{"login": r.text(&c.GCP.Login)}),
		"profiles":              r.profiles,
		"docker":                r.block(r.docker(&c.Docker)),
		"paths":                 r.block(fields{"run": r.text(&c.Paths.Run), "state": r.text(&c.Paths.State), "templates": r.text(&c.Paths.Templates)}),
		"audit":                 r.block(fields{"file": r.text(&c.Audit.File)}),
		"gate_timeout":          r.duration(&c.GateTimeout),
		"refresh":               r.duration(&c.Refresh),
		"max_stale":             r.duration(&c.MaxStale),
		"require_gate":          r.truth(&c.RequireGate),
		"late_attach":           r.truth(&c.LateAttach),
		"exec_variables":        r.truth(&c.ExecVariables),
		"start_failed":          r.truth(&c.StartFailed),
		"boot_cache":            r.block(fields{"key": r.text(&c.BootCache.Key), "key_id": r.text(&c.BootCache.KeyID)}),
		"allow_swap":            r.truth(&c.AllowSwap),
		"allow_static_identity": r.truth(&c.AllowStaticIdentity),
		"static_identity": r.block(fields{
			"token_file":             r.text(&c.StaticIdentity.TokenFile),
			"role_id":                r.text(&c.StaticIdentity.RoleID),
			"wrapped_secret_id_file": r.text(&c.StaticIdentity.WrappedSecretIDFile),
		}),
		"log": r.block(fields{"level": r.text(&c.Log.Level), "format": r.text(&c.Log.Format)}),
	})
}

func (r *reader) vault(v *Vault) fields {
	return fields{
		"address":   r.text(&v.Address),
		"role":      r.text(&v.Role),
		"mount":     r.text(&v.Mount),
		"server_id": r.text(&v.ServerID),
		"ca_file":   r.text(&v.CAFile),

		"tls_server_name": r.text(&v.TLSServerName),

		"client_cert_file": r.text(&v.ClientCertFile),
		"client_key_file":  r.text(&v.ClientKeyFile),
		"login_spread":     r.duration(&v.LoginSpread),

		"namespace":  r.text(&v.Namespace),
		"sts_region": r.text(&v.STSRegion),

		"sts_endpoint":       r.text(&v.STSEndpoint),
		"revoke_on_shutdown": r.truth(&v.RevokeOnShutdown),
		"rate":               r.number(&v.Rate),
		"check_versions":     r.truth(&v.CheckVersions),
	}
}

func (r *reader) docker(d *Docker) fields {
	return fields{
		"host":       r.text(&d.Host),
		"data_root":  r.textOrNone(&d.DataRoot),
		"plugin":     r.textOrNone(&d.Plugin),
		"plugin_dir": r.text(&d.PluginDir),
		"cdi_dir":    r.textOrNone(&d.CDIDir),
	}
}

func (r *reader) providers(key string, node ast.Node) {
	r.each(key, node, func(name, key string, place Place, node ast.Node) {
		if _, defined := r.config.Providers[name]; defined {
			r.faultAt(place, key, fmt.Sprintf("%s: defined twice: at %s and at %s", key, r.places[key], place))
			return
		}
		r.places[key] = place
		var provider Provider
		r.mapping(key, node, r.provider(&provider))
		if provider.Type == "" && slices.Contains(clouds, name) {
			provider.Type = name
		}
		if r.config.Providers == nil {
			r.config.Providers = map[string]Provider{}
		}
		r.config.Providers[name] = provider
	})
}

// provider has the keys of all types; which of them fit is checked later.
func (r *reader) provider(p *Provider) fields {
	known := r.vault(&p.Vault)
	for key, read := range (fields{
		"type": r.text(&p.Type), "region": r.text(&p.Region), "assume_role": r.text(&p.AssumeRole),
		"external_id": r.text(&p.ExternalID), "replicas": r.list(&p.Replicas), "client_id": r.text(&p.ClientID),
		"dns_suffix": r.text(&p.DNSSuffix), "impersonate": r.text(&p.Impersonate), "endpoint": r.text(&p.Endpoint),
	}) {
		known[key] = read
	}
	return known
}

func (r *reader) grants(key string, node ast.Node) {
	for _, item := range r.items(key, node) {
		key := fmt.Sprintf("%s[%d]", key, len(r.config.Grants)) // counted over all files
		r.places[key] = r.start(item)
		var grant Grant
		r.mapping(key, item, fields{
			"name":       r.text(&grant.Name),
			"workloads":  r.texts(&grant.Workloads),
			"secrets":    r.patterns(&grant.Secrets),
			"boot_cache": r.truth(&grant.BootCache),
			"vault": r.block(fields{
				"role": r.text(&grant.Vault.Role), "policies": r.list(&grant.Vault.Policies),
			}),
		})
		r.config.Grants = append(r.config.Grants, grant)
	}
}

// patterns keeps a seat for a pattern that does not parse, so that the others
// have the index by which their places are known.
func (r *reader) patterns(into *[]secret.Pattern) read {
	return func(key string, node ast.Node) {
		for i, item := range r.items(key, node) {
			key := fmt.Sprintf("%s[%d]", key, i)
			r.places[key] = r.start(item)
			var pattern secret.Pattern
			if text, ok := r.scalar(key, item); ok {
				var err error
				if pattern, err = secret.ParsePattern(text); err != nil {
					r.fault(key, "%v", err)
				}
			}
			*into = append(*into, pattern)
		}
	}
}

// list reads a list of texts.
func (r *reader) list(into *[]string) read {
	return func(key string, node ast.Node) {
		*into = nil
		for i, item := range r.items(key, node) {
			key := fmt.Sprintf("%s[%d]", key, i)
			r.places[key] = r.start(item)
			if text, ok := r.scalar(key, item); ok {
				*into = append(*into, text)
			}
		}
	}
}

// texts reads a mapping of any keys to text.
func (r *reader) texts(into *map[string]string) read {
	return func(key string, node ast.Node) {
		*into = map[string]string{}
		r.each(key, node, func(name, key string, place Place, node ast.Node) {
			r.places[key] = place
			if text, ok := r.scalar(key, node); ok {
				(*into)[name] = text
			}
		})
	}
}

func (r *reader) text(into *string) read {
	return func(key string, node ast.Node) {
		if text, ok := r.scalar(key, node); ok {
			*into = text
		}
	}
}

// textOrNone reads text of which "" is a value: there is none of it.
func (r *reader) textOrNone(into *string) read {
	return func(key string, node ast.Node) {
		if text, isText := node.(*ast.StringNode); isText && text.Value == "" {
			*into = ""
			return
		}
		r.text(into)(key, node)
	}
}

func (r *reader) duration(into *time.Duration) read {
	return func(key string, node ast.Node) {
		text, ok := r.scalar(key, node)
		if !ok {
			return
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			r.fault(key, "%q is not a duration: write a number and a unit, as in 90s, 5m or 1h30m", text)
			return
		}
		*into = d
	}
}

func (r *reader) number(into *int) read {
	return func(key string, node ast.Node) {
		text, ok := r.scalar(key, node)
		if !ok {
			return
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			r.fault(key, "%q is not a whole number", text)
			return
		}
		*into = n
	}
}

func (r *reader) truth(into *bool) read {
	return func(key string, node ast.Node) {
		text, ok := r.scalar(key, node)
		if !ok {
			return
		}
		if _, isBool := node.(*ast.BoolNode); !isBool {
			r.fault(key, "%q is neither true nor false", text)
			return
		}
		*into, _ = strconv.ParseBool(text) // YAML's spellings are among those of strconv
	}
}

func (r *reader) block(known fields) read {
	return func(key string, node ast.Node) { r.mapping(key, node, known) }
}

// mapping reads a mapping whose keys are known.
func (r *reader) mapping(key string, node ast.Node, known fields) {
	r.each(key, node, func(name, key string, place Place, node ast.Node) {
		if read, found := known[name]; found {
			r.places[key] = place
			read(key, node)
			return
		}
		message := fmt.Sprintf("unknown key %q", name)
		if near := nearest(name, slices.Sorted(maps.Keys(known))); near != "" {
			message += fmt.Sprintf("; did you mean %q?", near)
			// What was meant is not reported as missing: one slip is one problem.
			r.refused[strings.TrimSuffix(key, name)+near] = true
		}
		r.faultAt(place, key, message)
	})
}

// each calls do for every entry of a mapping, with the entry's name, its key
// in the whole configuration, and the place of the name.
func (r *reader) each(key string, node ast.Node, do func(name, key string, place Place, node ast.Node)) {
	mapping, ok := node.(*ast.MappingNode)
	if !ok {
		r.wanted(key, node, "key: value pairs")
		return
	}
	seen := map[string]Place{}
	for _, entry := range mapping.Values {
		place := at(r.file, entry.Key.GetToken())
		name := entry.Key.GetToken().Value
		full := strings.TrimPrefix(key+"."+name, ".")
		if first, twice := seen[name]; twice {
			r.faultAt(place, full, fmt.Sprintf("%s: given twice: at %s and at %s", full, first, place))
			continue
		}
		seen[name] = place
		if strings.ContainsFunc(name, unicode.IsControl) {
			r.faultAt(place, key, fmt.Sprintf("the key %q contains a control character", name))
			continue
		}
		do(name, full, place, entry.Value)
	}
}

// items returns the items of a list.
func (r *reader) items(key string, node ast.Node) []ast.Node {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		r.wanted(key, node, "a list")
		return nil
	}
	return list.Values
}

// scalar returns a scalar as it is written: a number or a truth value is text
// too where text is wanted, as in user: 1000.
func (r *reader) scalar(key string, node ast.Node) (text string, ok bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.LiteralNode:
		text = n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		text = n.GetToken().Value
	default:
		r.wanted(key, node, "text")
		return "", false
	}
	if strings.TrimSpace(text) == "" {
		r.fault(key, "is empty: give it a value or take the key out")
		return "", false
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		r.fault(key, "contains a line break or another control character")
		return "", false
	}
	return text, true
}

// wanted notes that the value of key has another form than it should.
func (r *reader) wanted(key string, node ast.Node, wanted string) {
	found := "text"
	switch node.(type) {
	case *ast.NullNode:
		found = "nothing"
	case *ast.MappingNode:
		found = "key: value pairs"
	case *ast.SequenceNode:
		found = "a list"
	}
	if key == "" {
		r.faultAt(r.start(node), key, fmt.Sprintf("%s wanted here, found %s", wanted, found))
		return
	}
	r.fault(key, "%s wanted here, found %s", wanted, found)
}

// start is where a value begins. The token of a block mapping is its first
// colon, so its first key is asked instead.
func (r *reader) start(node ast.Node) Place {
	if mapping, ok := node.(*ast.MappingNode); ok && len(mapping.Values) > 0 && !mapping.IsFlowStyle {
		node = mapping.Values[0].Key
	}
	return at(r.file, node.GetToken())
}
