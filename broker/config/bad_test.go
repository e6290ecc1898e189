package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/config"
)

// valid is a configuration that is right in itself: three lines.
const valid = `vault: {address: https://vault.internal:8200, role: docker-host}
grants:
  - {name: a, workloads: {name: a}, secrets: ["vault:kv/a"]}
`

// cached is valid with secrets that may be kept, but for the block that says how.
var cached = strings.Replace(valid, "kv/a\"]}", "kv/a\"], boot_cache: true}", 1)

// profile is one that is right in itself, to which more of its keys can be added.
const profile = `profiles:
  shop-db:
    secrets: {password: "vault:kv/shop/db#password"}
`

var badFiles = []struct {
	name  string
	files map[string]string
	want  string // all problems, one a line
}{
	{"unknown key, near a known one", one(valid + "gate_timout: 3s"),
		`q.yaml:4:1: unknown key "gate_timout"; did you mean "gate_timeout"?`},
	{"unknown key, near none", one(valid + "colour: red"),
		`q.yaml:4:1: unknown key "colour"`},
	{"unknown key in a block", one(valid + "log:\n  levle: debug\n"),
		`q.yaml:5:3: unknown key "levle"; did you mean "level"?`},
	{"unknown key in a grant", one(valid + "  - {name: b, workload: {name: b}, secrets: [\"vault:kv/b\"]}"),
		`q.yaml:4:15: unknown key "workload"; did you mean "workloads"?`},
	{"all problems together", one("identity: ibm\nvault: {adress: https://v}\ngate_timeout: 1\nrefresh: 1ms\n"),
		`q.yaml:1:1: identity: "ibm" is not one of auto, aws, azure, gcp, token-file, approle-wrapped
q.yaml:2:1: vault.role: is missing: the role that this host logs in as
q.yaml:2:9: unknown key "adress"; did you mean "address"?
q.yaml:3:1: gate_timeout: "1" is not a duration: write a number and a unit, as in 90s, 5m or 1h30m
q.yaml:4:1: refresh: 1ms is too short: at least 1s`},
	{"problems of several files, in their order", map[string]string{"q.yaml": valid, "conf.d/b.yaml": "b: 1", "conf.d/a.yaml": "a: 1"},
		"conf.d/a.yaml:1:1: unknown key \"a\"\nconf.d/b.yaml:1:1: unknown key \"b\""},

	{"not YAML", one("vault: [\n"),
		`q.yaml:1:8: not YAML: sequence end token ']' not found`},
	{"not YAML in one file does not hide the others", map[string]string{"q.yaml": "a: b: c", "conf.d/a.yaml": "a: 1"},
		"q.yaml:1:4: not YAML: mapping value is not allowed in this context\nconf.d/a.yaml:1:1: unknown key \"a\""},
	{"not text", one("\xff\xfe"), `q.yaml: is not text in UTF-8`},
	{"a list at the top", one("- a\n"), `q.yaml:1:1: key: value pairs wanted here, found a list`},
	{"two documents", one(valid + "---\n" + valid), `q.yaml: holds more than one YAML document: take out the lines with ---`},
	{"anchor", one("log: &a {level: debug}"),
		`q.yaml:1:6: anchors, aliases and merge keys are not understood here: write the value out`},
	{"merge key", one("<<: {refresh: 1m}"),
		`q.yaml:1:1: anchors, aliases and merge keys are not understood here: write the value out`},
	{"tag", one("refresh: !!str 1m"),
		`q.yaml:1:10: tags, directives and ?-keys are not understood here: write key: value`},
	{"nested too deep", one(strings.Repeat("[", 1<<19)), `q.yaml:1:33: nested more than 32 deep`},
	{"nested too deep, in lines", one(strings.Repeat("- ", 1<<18)), `q.yaml:1:65: nested more than 32 deep`},
	{"key given twice", one(valid + "refresh: 1m\nrefresh: 2m\n"),
		`q.yaml:5:1: refresh: given twice: at q.yaml:4:1 and at q.yaml:5:1`},
	{"key with a line break", one(valid + "\"a\\nb\": 1"), `q.yaml:4:1: the key "a\nb" contains a control character`},

	{"text wanted", one(valid + "identity: [aws]"), `q.yaml:4:1: identity: text wanted here, found a list`},
	{"nothing given", one(valid + "identity:\n"), `q.yaml:4:1: identity: text wanted here, found nothing`},
	{"empty text", one(valid + "identity: ''"), `q.yaml:4:1: identity: is empty: give it a value or take the key out`},
	{"line break in text", one(valid + "identity: \"a\\nb\""),
		`q.yaml:4:1: identity: contains a line break or another control character`},
	{"mapping wanted", one("vault: https://v"), `q.yaml:1:1: vault: key: value pairs wanted here, found text`},
	{"list wanted", one("vault: {address: https://v, role: r}\ngrants: {a: b}"),
		`q.yaml:2:1: grants: a list wanted here, found key: value pairs`},
	{"truth wanted", one(valid + "require_gate: yes"), `q.yaml:4:1: require_gate: "yes" is neither true nor false`},
	{"duration in words", one(valid + "refresh: hourly"),
		`q.yaml:4:1: refresh: "hourly" is not a duration: write a number and a unit, as in 90s, 5m or 1h30m`},

	{"empty", one("# nothing\n"), "q.yaml: is empty; the smallest useful configuration is\n\n" +
		"vault: {address: https://vault.internal:8200, role: docker-host}\ngrants:\n  - name: timeline\n" +
		"    workloads: {compose.project: shop, compose.service: timeline}\n    secrets: [\"vault:kv/shop/timeline/**\"]"},
	{"identity unknown", one(valid + "identity: aw"), `q.yaml:4:1: identity: "aw" is not one of auto, aws, azure, gcp, token-file, approle-wrapped`},
	{"way to log in from GCP", one(valid + "gcp: {login: oauth}"), `q.yaml:4:7: gcp.login: "oauth" is not one of gce, iam`},

	{"vault without address and role", one("vault: {mount: aws}"), `q.yaml:1:1: vault.address: is missing: as in https://vault.internal:8200
q.yaml:1:1: vault.role: is missing: the role that this host logs in as`},
	{"vault address in clear text", one("vault: {address: \"http://vault.internal:8200\", role: r}"),
		`q.yaml:1:9: vault.address: tokens would cross the network to vault.internal:8200 in clear text: use https (http is for this machine's loopback only)`},
	{"vault address is no URL", one("vault: {address: \"vault.internal:8200\", role: r}"),
		`q.yaml:1:9: vault.address: write it as https://host:port`},
	{"vault address with a password", one("vault: {address: \"https://u:hunter2@v\", role: r}"),
		`q.yaml:1:9: vault.address: only scheme, host, port and path may stand in it`},
	{"vault mount with auth/", one("vault: {address: https://v, role: r, mount: auth/aws}"),
		`q.yaml:1:38: vault.mount: "auth/aws": write it without auth/ before it and without a slash around it, as in "aws"`},
	{"vault role with a path", one("vault: {address: https://v, role: auth/aws/role/r}"),
		`q.yaml:1:29: vault.role: "auth/aws/role/r": a role is named without its path`},
	{"half a client certificate", one("vault: {address: https://v, role: r, client_cert_file: /dev/null}"),
		`q.yaml:1:1: vault: client_cert_file and client_key_file belong together: give both or neither
q.yaml:1:38: vault.client_cert_file: "/dev/null" is a device, not a regular file`},
	{"login spread", one("vault: {address: https://v, role: r, login_spread: 2h}"),
		`q.yaml:1:38: vault.login_spread: 2h0m0s is not between 0s and 1h`},
	{"vault region", one("vault: {address: https://v, role: r, sts_region: evil.example/}"),
		`q.yaml:1:38: vault.sts_region: "evil.example/" is not an AWS region such as eu-west-1`},
	{"vault authority missing", one("vault: {address: https://v, role: r, ca_file: /nonexistent/ca.pem}"),
		`q.yaml:1:38: vault.ca_file: "/nonexistent/ca.pem": no such file or directory`},
	{"vault authority is a directory", one("vault: {address: https://v, role: r, ca_file: /etc}"),
		`q.yaml:1:38: vault.ca_file: "/etc" is a directory, not a regular file`},
	{"vault authority is relative", one("vault: {address: https://v, role: r, ca_file: ca.pem}"),
		`q.yaml:1:38: vault.ca_file: "ca.pem" is not an absolute path without dots, double slashes and a slash at the end`},

	{"vault by a bad SRV record", one("vault: {address: \"srv://vault:8200\", role: r}"),
		`q.yaml:1:9: vault.address: is not the name of an SRV record: write it as srv://_vault._tcp.example.internal`},
	{"provider without type", one(valid + "providers:\n  eu: {address: https://v, role: r}"),
		`q.yaml:5:3: providers.eu.type: is missing: one of vault, aws, azure, gcp`},
	{"provider of an unknown type", one(valid + "providers:\n  eu: {type: ibm}"),
		`q.yaml:5:8: providers.eu.type: "ibm" is not one of vault, aws, azure, gcp`},
	{"provider with another type's key", one(valid + "providers:\n  eu: {type: aws, address: https://v}"),
		`q.yaml:5:19: providers.eu.address: belongs to a provider of type vault, and this one is of type aws, whose keys are region, assume_role, external_id, replicas, rate, check_versions`},
	{"region of a provider", one(valid + "providers:\n  aws: {region: Ireland, replicas: [eu-west-1, x]}"),
		"q.yaml:5:9: providers.aws.region: \"Ireland\" is not an AWS region such as eu-west-1\n" +
			"q.yaml:5:48: providers.aws.replicas[1]: \"x\" is not an AWS region such as eu-west-1"},
	{"role of a provider", one(valid + "providers:\n  aws: {assume_role: reader}"),
		`q.yaml:5:9: providers.aws.assume_role: "reader" is not the ARN of a role, as in arn:aws:iam::123456789012:role/reader`},
	{"external ID alone", one(valid + "providers:\n  aws: {external_id: x}"),
		`q.yaml:5:9: providers.aws.external_id: is for a role to assume: give assume_role too`},
	{"suffix of a provider", one(valid + "providers:\n  azure: {dns_suffix: \"https://x\"}"),
		`q.yaml:5:11: providers.azure.dns_suffix: "https://x" is not the end of a host name such as vault.azure.net`},
	{"account of a provider", one(valid + "providers:\n  gcp: {impersonate: reader, endpoint: \"http://x\"}"),
		"q.yaml:5:9: providers.gcp.impersonate: \"reader\" is not the e-mail address of a service account\n" +
			"q.yaml:5:30: providers.gcp.endpoint: tokens would cross the network to x in clear text: use https (http is for this machine's loopback only)"},
	{"rate of a provider", one(valid + "providers:\n  gcp: {rate: fast}"),
		`q.yaml:5:9: providers.gcp.rate: "fast" is not a whole number`},
	{"rate below zero", one(valid + "providers:\n  gcp: {rate: -1}"),
		`q.yaml:5:9: providers.gcp.rate: -1: write how many requests a second the provider may be asked, at least 1`},
	{"rate of zero", one("vault: {address: https://v, role: r, rate: 0}"),
		`q.yaml:1:38: vault.rate: 0: write how many requests a second the provider may be asked, at least 1`},
	{"templates at no absolute path", one(valid + "paths: {templates: templates}"),
		`q.yaml:4:9: paths.templates: "templates" is not an absolute path without dots, double slashes and a slash at the end`},
	{"static identity as another role", one(valid + "  - {name: b, workloads: {name: b}, secrets: [\"vault:kv/b\"], vault: {role: x}}\n" +
		"identity: token-file\nallow_static_identity: true\nstatic_identity: {token_file: /run/token}"),
		`q.yaml:4:70: grants[1].vault.role: "x": a static identity is one login and cannot be another role: leave it out, and give policies`},
	{"static identity without leave", one(valid + "identity: token-file\nstatic_identity: {token_file: /run/token}"),
		`q.yaml:4:1: identity: "token-file" is a static identity, which a host in a cloud does not need and whoever reads its file can use: use auto, or say allow_static_identity: true on a developer's machine`},
	{"static identity without its file", one(valid + "identity: approle-wrapped\nallow_static_identity: true\nstatic_identity: {wrapped_secret_id_file: x}"),
		"q.yaml:6:1: static_identity.role_id: is missing: the ID of the AppRole that this machine logs in as\n" +
			"q.yaml:6:19: static_identity.wrapped_secret_id_file: \"x\" is not an absolute path without dots, double slashes and a slash at the end"},
	{"grant with an empty login", one(valid + "  - {name: b, workloads: {name: b}, secrets: [\"vault:kv/b\"], vault: {}}"),
		`q.yaml:4:62: grants[1].vault: says nothing: give a role, a list of policies, or both`},
	{"grant with a login that nothing uses", one(valid + "  - {name: b, workloads: {name: b}, secrets: [\"gcp:p/b\"], vault: {role: x}}"),
		`q.yaml:4:59: grants[1].vault: is for secrets that a Vault keeps, and this grant names none`},
	{"STS of one's own", one("vault: {address: https://v, role: r, sts_endpoint: \"http://sts\"}"),
		`q.yaml:1:38: vault.sts_endpoint: tokens would cross the network to sts in clear text: use https (http is for this machine's loopback only), as in Vault's own sts_endpoint`},
	{"provider with the built-in name", one(valid + "providers:\n  vault: {type: vault, address: https://v, role: r}"),
		`q.yaml:5:3: providers.vault: "vault" is the provider that the vault block configures: choose another name`},
	{"provider with a reserved name", one(valid + "providers:\n  gcp: {type: vault, address: https://v, role: r}"),
		`q.yaml:5:9: providers.gcp.type: "vault": "gcp" is the name of a built-in provider, which is of type gcp: choose another name`},
	{"provider with a bad name", one(valid + "providers:\n  EU: {type: vault, address: https://v, role: r}"),
		`q.yaml:5:3: providers.EU: "EU" is not a name for a provider: use lower-case letters, digits and dashes, starting with a letter`},
	{"provider defined in two files", map[string]string{"q.yaml": valid,
		"conf.d/a.yaml": "providers:\n  eu: {type: vault, address: https://v, role: r}",
		"conf.d/b.yaml": "providers:\n  eu: {type: vault, address: https://w, role: r}"},
		`conf.d/b.yaml:2:3: providers.eu: defined twice: at conf.d/a.yaml:2:3 and at conf.d/b.yaml:2:3`},

	{"grant without name", one(valid + "  - {workloads: {name: b}, secrets: [\"vault:kv/b\"]}"),
		`q.yaml:4:5: grants[1].name: is missing: it is what reasons and audit records call the grant`},
	{"grant defined twice", map[string]string{"q.yaml": valid, "conf.d/a.yaml": strings.TrimPrefix(valid, "vault: {address: https://vault.internal:8200, role: docker-host}\n")},
		`conf.d/a.yaml:2:6: grants[1].name: grant "a" is defined twice: at q.yaml:3:6 and at conf.d/a.yaml:2:6`},
	{"grant without workloads", one(valid + "  - {name: b, secrets: [\"vault:kv/b\"]}"),
		`q.yaml:4:5: grants[1].workloads: no selector: the grant would match every container; name one, as in {compose.project: shop}`},
	{"grant with empty workloads", one(valid + "  - {name: b, workloads: {}, secrets: [\"vault:kv/b\"]}"),
		`q.yaml:4:15: grants[1].workloads: no selector: the grant would match every container; name one, as in {compose.project: shop}`},
	{"grant with an unknown selector", one(valid + "  - {name: b, workloads: {image.signer: b, label.: c}, secrets: [\"vault:kv/b\"]}"),
		`q.yaml:4:27: grants[1].workloads.image.signer: unknown selector "image.signer"; the selectors are compose.project, compose.service, image.ref, name, swarm.node, swarm.service, user, label.<key> and image.label.<key>
q.yaml:4:44: grants[1].workloads.label.: unknown selector "label."; the selectors are compose.project, compose.service, image.ref, name, swarm.node, swarm.service, user, label.<key> and image.label.<key>`},
	{"grant by image labels alone", one(valid + "  - {name: b, workloads: {image.label.app: b}, secrets: [\"vault:kv/b\"]}"),
		`q.yaml:4:15: grants[1].workloads: only image.label. selectors: what an image says of itself is never enough to get a secret; add one that the image does not choose, as in {image.ref: "shop/*"}`},
	{"grant with an empty value", one(valid + "  - {name: b, workloads: {name: }, secrets: [\"vault:kv/b\"]}"),
		`q.yaml:4:27: grants[1].workloads.name: text wanted here, found nothing`},
	{"grant without secrets", one(valid + "  - {name: b, workloads: {name: b}}"),
		`q.yaml:4:5: grants[1].secrets: no pattern: the grant would give nothing; name a secret, as in ["vault:kv/shop/db"]`},
	{"grant with a pattern that does not parse", one(valid + "  - {name: b, workloads: {name: b}, secrets: [\"vault:kv/b\", \"kv/b\"]}"),
		`q.yaml:4:61: grants[1].secrets[1]: pattern "kv/b": a ref starts with its provider and a colon, as in vault:kv/shop/db#password`},
	{"grant of an unknown provider", one(valid + "  - name: b\n    workloads: {name: b}\n    secrets:\n      - eu:kv/b\nproviders: {shop: {type: vault, address: https://v, role: r}}"),
		`q.yaml:7:9: grants[1].secrets[0]: pattern "eu:kv/b": there is no provider "eu"; configured: vault, shop`},
	{"no store", one("refresh: 1m"), "q.yaml: vault: is missing, and no providers are configured, so there is nowhere to read a secret from; the smallest useful configuration is\n\n" +
		"vault: {address: https://vault.internal:8200, role: docker-host}\ngrants:\n  - name: timeline\n" +
		"    workloads: {compose.project: shop, compose.service: timeline}\n    secrets: [\"vault:kv/shop/timeline/**\"]"},

	{"docker over the network", one(valid + "docker: {host: tcp://10.0.0.1:2375}"),
		`q.yaml:4:10: docker.host: "tcp://10.0.0.1:2375" is not the socket of an engine on this host, as in unix:///var/run/docker.sock`},
	{"relative and unclean paths", one(valid + "paths: {run: run, state: /var/../lib}\naudit: {file: /var/log/}"),
		`q.yaml:4:9: paths.run: "run" is not an absolute path without dots, double slashes and a slash at the end
q.yaml:4:19: paths.state: "/var/../lib" is not an absolute path without dots, double slashes and a slash at the end
q.yaml:5:9: audit.file: "/var/log/" is not an absolute path without dots, double slashes and a slash at the end`},
	{"state in memory", one(valid + "paths: {run: /run/q, state: /run/q/state}"),
		`q.yaml:4:22: paths.state: "/run/q/state" lies in paths.run, which is memory and empty after a reboot`},
	{"durations beyond their limits", one(valid + "gate_timeout: 11m\nrefresh: 0\nmax_stale: -1s"),
		`q.yaml:4:1: gate_timeout: 11m0s is too long: at most 10m0s
q.yaml:5:1: refresh: 0s is too short: at least 1s
q.yaml:6:1: max_stale: -1s is too short: at least 0s`},
	{"driver with the engine's name", one(valid + "docker: {plugin: local}"),
		`q.yaml:4:10: docker.plugin: "local" is the engine's own volume driver: choose another name`},
	{"driver with a path", one(valid + "docker: {plugin: a/b, plugin_dir: plugins, data_root: /, cdi_dir: cdi}"),
		`q.yaml:4:10: docker.plugin: "a/b" is not a name for a driver: use letters, digits, dashes, dots and underscores, starting with a letter or a digit
q.yaml:4:23: docker.plugin_dir: "plugins" is not an absolute path without dots, double slashes and a slash at the end
q.yaml:4:44: docker.data_root: "/" is not an absolute path without dots, double slashes and a slash at the end
q.yaml:4:58: docker.cdi_dir: "cdi" is not an absolute path without dots, double slashes and a slash at the end`},
	{"driver with too long a socket", one(valid + "docker: {plugin: " + strings.Repeat("q", 90) + "}"),
		"q.yaml:4:10: docker.plugin: the socket /run/docker/plugins/" + strings.Repeat("q", 90) + ".sock would have a name of 115 bytes: the limit is 107"},
	{"directory of plugins empty", one(valid + "docker: {plugin_dir: ''}"),
		`q.yaml:4:10: docker.plugin_dir: is empty: give it a value or take the key out`},
	{"nothing given for a driver", one(valid + "docker: {plugin: }"), `q.yaml:4:10: docker.plugin: text wanted here, found nothing`},
	{"late attach and a gate required", one(valid + "require_gate: true\nlate_attach: true"),
		`q.yaml:5:1: late_attach: goes against require_gate, which stops the containers that this would serve: set one of them to false`},

	{"boot cache without key", one(cached + "boot_cache: {}"),
		`q.yaml:4:1: boot_cache.key: is missing: what the kept secrets are sealed with: one of systemd-creds, aws-kms, azure-key, gcp-kms`},
	{"boot cache under an unknown key", one(cached + "boot_cache: {key: tpm}"),
		`q.yaml:4:14: boot_cache.key: "tpm" is not one of systemd-creds, aws-kms, azure-key, gcp-kms`},
	{"boot cache under the machine's key by a name", one(cached + "boot_cache: {key: systemd-creds, key_id: q}"),
		`q.yaml:4:34: boot_cache.key_id: "q": the machine has one key, which has no name: leave it out`},
	{"boot cache under no key of a cloud", one(cached + "boot_cache: {key: gcp-kms}"),
		`q.yaml:4:1: boot_cache.key_id: is missing: which key of gcp-kms`},
	{"boot cache under another cloud's key", one(cached + "identity: aws\nboot_cache: {key: gcp-kms, key_id: projects/p/locations/eu/keyRings/r/cryptoKeys/k}"),
		`q.yaml:5:14: boot_cache.key: "gcp-kms" is used with the identity gcp, and this host's is aws: use systemd-creds, or that cloud's own`},
	{"boot cache under a bad key of AWS", one(cached + "boot_cache: {key: aws-kms, key_id: \"arn:aws:s3:::b\"}"),
		`q.yaml:4:28: boot_cache.key_id: "arn:aws:s3:::b" is neither the ARN nor the alias of a key, as in arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab or alias/quaymaster`},
	{"boot cache under a bad key of Azure", one(cached + "boot_cache: {key: azure-key, key_id: \"https://kv.vault.azure.net/secrets/q\"}"),
		`q.yaml:4:30: boot_cache.key_id: "https://kv.vault.azure.net/secrets/q" is not the URL of a key, as in https://shop-kv.vault.azure.net/keys/quaymaster`},
	{"boot cache under a key of Azure in clear text", one(cached + "boot_cache: {key: azure-key, key_id: \"http://kv.vault.azure.net/keys/q\"}"),
		`q.yaml:4:30: boot_cache.key_id: "http://kv.vault.azure.net/keys/q" is not the URL of a key, as in https://shop-kv.vault.azure.net/keys/quaymaster`},
	{"boot cache under a version of Google's key", one(cached + "boot_cache: {key: gcp-kms, key_id: projects/p/locations/eu/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1}"),
		`q.yaml:4:28: boot_cache.key_id: "projects/p/locations/eu/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1" is not the name of a key, as in projects/shop/locations/europe-west1/keyRings/hosts/cryptoKeys/quaymaster`},
	{"grant with a boot cache that there is not", one(cached),
		`q.yaml:3:62: grants[0].boot_cache: true, and there is no boot_cache block: say there what the kept secrets are sealed with, as in boot_cache: {key: systemd-creds}`},

	{"profile with an unknown key", one(valid + "profiles:\n  shop-db: {secret: {password: \"vault:kv/a\"}, env: {A: \"vault:kv/a\"}}"),
		`q.yaml:5:13: unknown key "secret"; did you mean "secrets"?`},
	{"profile that asks for nothing", one(valid + "profiles:\n  shop-db: {path: /run/x}"),
		`q.yaml:5:3: profiles.shop-db: asks for no secret: name one, as in secrets: {password: "vault:kv/shop/db#password"}`},
	{"profile with a bad name", one(valid + "profiles:\n  shop.db: {secrets: {password: \"vault:kv/a\"}}"),
		`q.yaml:5:3: profiles.shop.db: "shop.db" is not a name for a profile: use letters, digits, dashes and underscores, starting and ending with a letter or a digit`},
	{"profile defined in two files", map[string]string{"q.yaml": valid + profile, "conf.d/a.yaml": profile},
		`conf.d/a.yaml:2:3: profiles.shop-db: defined twice: at q.yaml:5:3 and at conf.d/a.yaml:2:3`},
	{"profile with a bad ref", one(valid + profile + "    env: {A: \"kv/a\", B: \"vault:kv/{{name}}//x\"}\n    format: {password: jks}\n    password: {password: \"vault:\"}"),
		`q.yaml:7:11: profiles.shop-db.env.A: ref "kv/a": a ref starts with its provider and a colon, as in vault:kv/shop/db#password
q.yaml:7:22: profiles.shop-db.env.B: ref "vault:kv/{{name}}//x": path "kv/{{name}}//x": starts or ends with a slash, or has an empty segment
q.yaml:9:16: profiles.shop-db.password.password: ref "vault:": the path is empty`},
	{"profile of an unknown provider", one(valid + profile + "    env: {A: \"eu:kv/a\"}"),
		`q.yaml:7:11: profiles.shop-db.env.A: ref "eu:kv/a": there is no provider "eu"; configured: vault`},
	{"profile whose values mean nothing", one(valid + profile + "    env: {1A: \"vault:kv/{{nmae}}\"}\n    format: {password: yaml, ghost: raw}\n    refresh: {password: 1ms}\n" +
		"    optional: [ghost, user]\n    path: run\n    mode: \"0640\"\n    owner: postgres\n    on_rotate: reload"),
		`q.yaml:7:11: profiles.shop-db.env.1A: "1A" is not a name for an environment variable: use letters, digits and underscores
q.yaml:8:14: profiles.shop-db.format.password: "yaml" is not a format; they are raw, json, dotenv, pem, pkcs12, jks and template:<name>
q.yaml:8:30: profiles.shop-db.format.ghost: no file or variable called ghost is asked for
q.yaml:9:15: profiles.shop-db.refresh.password: "1ms" is not a time between 1s and 24h, such as 15s or 1h30m
q.yaml:10:16: profiles.shop-db.optional[0]: no file or variable called ghost is asked for
q.yaml:10:23: profiles.shop-db.optional[1]: no file or variable called user is asked for
q.yaml:11:5: profiles.shop-db.path: "run" is not an absolute path without dots and double slashes
q.yaml:12:5: profiles.shop-db.mode: "0640" lets somebody write: containers see their secrets read-only
q.yaml:13:5: profiles.shop-db.owner: "postgres" is not uid or uid:gid in numbers
q.yaml:14:5: profiles.shop-db.on_rotate: "reload" is not a strategy; they are none, signal:<SIG> (as in signal:HUP) and restart`},
	{"profile with a bad selector", one(valid + profile + "    env: {A: \"vault:kv/{{compose.servce}}\"}"),
		`q.yaml:7:11: profiles.shop-db.env.A: ref "vault:kv/{{compose.servce}}": there is no selector "compose.servce"; the selectors are compose.project, compose.service, image.ref, name, swarm.node, swarm.service, label.<key> and image.label.<key>`},
	{"profile with times that are none", one(valid + profile + "    refresh: {password: often}"),
		`q.yaml:7:15: profiles.shop-db.refresh.password: "often" is not a duration: write a number and a unit, as in 90s, 5m or 1h30m`},
	{"profile with forms that do not fit", one(valid + "profiles:\n  shop-db: {secrets: [password]}\n  b: shop-db\n  c: {secrets: {a: }}"),
		`q.yaml:5:13: profiles.shop-db.secrets: key: value pairs wanted here, found a list
q.yaml:6:3: profiles.b: key: value pairs wanted here, found text
q.yaml:7:17: profiles.c.secrets.a: text wanted here, found nothing`},

	{"log", one(valid + "log: {level: loud, format: xml}"),
		`q.yaml:4:7: log.level: "loud" is not one of debug, info, warn, error
q.yaml:4:20: log.format: "xml" is not one of text, json`},
}

// one is a configuration of a single file.
func one(text string) map[string]string { return map[string]string{"q.yaml": text} }

func TestBadInput(t *testing.T) {
	for _, test := range badFiles {
		t.Run(test.name, func(t *testing.T) {
			_, _, problems := load(t, test.files)
			if problems != test.want {
				t.Errorf("got\n%s\nwant\n%s", problems, test.want)
			}
		})
	}
}

// TestEmptyIsKnown: a host that is still to be configured is told from one that
// is configured badly.
func TestEmptyIsKnown(t *testing.T) {
	for text, want := range map[string]bool{"# nothing\n": true, "---\n": true, "refresh: 1m\n": false, "nonsense\n": false} {
		file := filepath.Join(t.TempDir(), "q.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := config.Load(file); errors.Is(err, config.ErrEmpty) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}
