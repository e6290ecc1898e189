package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/broker/config"
)

// hostLook is which cloud the host is in, and what its metadata service says.
type hostLook struct {
	found      detect.Found
	foundErr   error
	looked     chan struct{} // closed when the rest is known
	service    detect.Service
	serviceErr error
}

// newHostLook finds the cloud, which takes less than a second.
func newHostLook(ctx context.Context, c config.Config) *hostLook {
	h := &hostLook{looked: make(chan struct{})}
	switch {
	case c.IsStatic():
		h.found = detect.Found{Cloud: staticIdentity, By: "the configuration"}
	case c.Identity != config.IdentityAuto:
		h.found = detect.Found{Cloud: detect.Cloud(c.Identity), By: "the configuration"}
	default:
		h.found, h.foundErr = detect.Find(ctx, detect.Options{Getenv: os.Getenv})
	}
	return h
}

func (h *hostLook) look(ctx context.Context) {
	defer close(h.looked)
	if h.foundErr != nil || h.found.Cloud == staticIdentity {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	h.service, h.serviceErr = detect.Look(ctx, h.found.Cloud, detect.Options{Getenv: os.Getenv})
}

// identity says who the host is, by the evidence that it would log in with.
func (d *doctor) identity(ctx context.Context) finding {
	if d.host.foundErr != nil {
		return wrong("run it on a machine of AWS, Azure or GCP with an identity, or set identity in the configuration", "%v", d.host.foundErr)
	}
	p := d.anyProver()
	if reason := p.notToTry(); reason != "" {
		return doubt("see in the agent's log and quaymaster ps how its login went", "%s, found by %s; who the host is was not tried: %s", d.host.found.Cloud, d.host.found.By, reason)
	}
	attestor, err := p.attestor("docker-host") // for which role makes no difference here
	if err != nil {
		return wrong("correct the setting that is named", "%s: %v", d.host.found.Cloud, err)
	}
	evidence, err := attestor.Attest(ctx, p.settings.ServerID)
	if err != nil {
		return wrong(identityRemedy[d.host.found.Cloud], "%s, found by %s: %v", d.host.found.Cloud, d.host.found.By, err)
	}
	if evidence.Static != "" {
		return doubt("use a cloud's identity anywhere but on a developer's machine", "STATIC IDENTITY: %s", evidence.Static)
	}
	return fine("%s, found by %s: %s", d.host.found.Cloud, d.host.found.By, evidence.Principal)
}

// identityRemedy says how a machine of a cloud gets an identity.
var identityRemedy = map[detect.Cloud]string{
	detect.AWS:     "give the instance an instance profile with a role, and its metadata service IMDSv2",
	detect.Azure:   "assign the machine a managed identity, and name a user-assigned one in azure.client_id where there are several",
	detect.GCP:     "create the instance with a service account and the scope cloud-platform",
	staticIdentity: "put what static_identity names in its place, readable by root only",
}

// anyProver proves the identity to the first Vault, or to none.
func (d *doctor) anyProver() prover {
	p := prover{cloud: d.host.found.Cloud, config: d.config, log: d.log, provider: config.BuiltinVault}
	if names := slices.Sorted(maps.Keys(d.sessions)); len(names) > 0 {
		p.provider, p.settings = names[0], d.sessions[names[0]].settings
	}
	return p
}

// notToTry is why proving the identity would cost something that the agent
// needs; empty: it costs nothing.
func (p prover) notToTry() string {
	if p.config.Identity == config.IdentityAppRoleWrapped {
		return "the wrapped secret ID can be used once, and the agent needs it"
	}
	if p.cloud == detect.AWS && aws.Type(p.config.AWS.Login) == aws.EC2 {
		if _, err := os.Stat(p.nonceFile()); err != nil {
			return "Vault remembers the nonce of the first login of type ec2, which is the agent's: start the agent first"
		}
	}
	return ""
}

// metadata says whether the metadata service answers.
func (d *doctor) metadata(context.Context) finding {
	h := d.host
	switch {
	case h.foundErr != nil:
		return wrong("see identity", "no cloud's metadata service answers as it should")
	case h.found.Cloud == staticIdentity:
		return fine("none is asked: the identity is static")
	case h.serviceErr != nil && os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")+os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "":
		return fine("the keys come from ECS, and not from the instance's metadata service (%v)", h.serviceErr)
	case errors.Is(h.serviceErr, auth.ErrNoIdentity):
		return wrong(metadataRemedy[h.found.Cloud], "%v", h.serviceErr)
	case h.serviceErr != nil:
		return wrong("try again; if it stays so, see what stands between this host and the service (a proxy, a packet filter)", "%v", h.serviceErr)
	case h.found.Cloud == detect.AWS:
		return fine("%s answers by IMDSv2; %s", h.service.Address, reachText[h.service.Reach])
	}
	return fine("%s answers", h.service.Address)
}

var metadataRemedy = map[detect.Cloud]string{
	detect.AWS:   "turn it on: aws ec2 modify-instance-metadata-options --http-endpoint enabled --http-tokens required --http-put-response-hop-limit 1",
	detect.Azure: "let this host reach 169.254.169.254 without a proxy; every machine of Azure has the service",
	detect.GCP:   "let this host reach metadata.google.internal without a proxy; every machine of GCP has the service",
}

var reachText = map[detect.Reach]string{
	detect.Untold:      "its hop limit could not be found out",
	detect.HostOnly:    "hop limit 1",
	detect.Farther:     "hop limit 2 or more",
	detect.Sessionless: "it answers IMDSv1 too",
}

// clockAfter is closed when somebody has told the time, or could not.
func (d *doctor) clockAfter() <-chan struct{} {
	told := make(chan struct{})
	go func() {
		defer close(told)
		<-d.host.looked
		for _, s := range d.sessions {
			<-s.reached
		}
	}()
	return told
}

// clock compares this host's clock with the cloud's, else with a Vault's.
func (d *doctor) clock(context.Context) finding {
	var clock detect.Clock
	whose := "its cloud's"
	if d.host.serviceErr == nil { // else something else may have answered
		clock = d.host.service.Clock
	}
	for _, name := range slices.Sorted(maps.Keys(d.sessions)) {
		if _, told := clock.Ahead(); !told {
			clock, whose = d.sessions[name].clock, "that of Vault "+name
		}
	}
	ahead, told := clock.Ahead()
	switch side := "ahead of"; {
	case !told:
		return doubt("see metadata and the Vaults", "nobody told the time to compare this host's clock with")
	case clock.Wrong():
		if ahead < 0 {
			side = "behind"
		}
		return doubt("set it, and let it be kept (chrony, systemd-timesyncd): certificates and max_stale go by it", "this host's clock is %s %s %s",
			ahead.Abs().Round(time.Second), side, whose)
	}
	return fine("this host's clock agrees with %s", whose)
}

// howToTry is how to find out for certain whether containers reach the service.
const howToTry = "to try it: docker run --rm busybox wget -qO- -T 3 http://169.254.169.254/ is to fail"

// fromContainers says whether what runs in containers could be this host, as
// far as that can be told without starting one.
func (d *doctor) fromContainers(ctx context.Context) finding {
	h := d.host
	if h.foundErr != nil || h.found.Cloud == staticIdentity {
		return fine("there is no metadata service that this host's identity comes from")
	}
	if h.service.Reach == detect.HostOnly {
		return fine("answers with a session end at this host (hop limit 1), and there are none without; containers with the host's own network get them")
	}
	rule, err := droppingRule(ctx)
	switch {
	case rule != "":
		return fine("a rule of the packet filter names it (%s); %s", rule, howToTry)
	case h.serviceErr != nil:
		return doubt("see metadata", "the service does not answer this host, so it could not be told")
	case h.found.Cloud == detect.AWS && h.service.Reach != detect.Untold:
		return doubt(metadataHop+"; "+howToTry, "containers on a bridge can be this host: %s", reachText[h.service.Reach])
	}
	unseen := ""
	if err != nil {
		unseen = fmt.Sprintf(", as far as could be seen (%v)", err)
	}
	return doubt("iptables -t raw -I PREROUTING -d 169.254.169.254 -p tcp ! --dport 53 -j DROP, at each boot; "+howToTry,
		"containers on a bridge can be this host: no rule of the packet filter keeps them from 169.254.169.254%s", unseen)
}

const metadataHop = "aws ec2 modify-instance-metadata-options --http-tokens required --http-put-response-hop-limit 1"

// droppingRule looks for a rule that keeps containers from the metadata service.
func droppingRule(ctx context.Context) (rule string, err error) {
	var failed []error
	for _, list := range [][]string{{"iptables", "-S"}, {"iptables", "-t", "raw", "-S"}, {"nft", "list", "ruleset"}} {
		rules, err := exec.CommandContext(ctx, list[0], list[1:]...).Output()
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", filepath.Base(list[0]), err))
			continue
		}
		if rule := dropsMetadata(string(rules)); rule != "" {
			return rule, nil
		}
	}
	return "", errors.Join(failed...)
}

// dropsMetadata finds the rule in what iptables -S or nft list ruleset print. One
// for what the host itself sends (OUTPUT) says nothing about containers.
func dropsMetadata(rules string) string {
	output := false
	for line := range strings.Lines(rules) {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "chain" {
			output = strings.EqualFold(words[1], "output")
		}
		ofHost := output || strings.HasPrefix(line, "-A OUTPUT ")
		drops := slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, "drop") || strings.EqualFold(w, "reject") })
		named := slices.Contains(words, "169.254.169.254") || slices.Contains(words, "169.254.169.254/32") || slices.Contains(words, "169.254.0.0/16")
		if !ofHost && drops && named {
			return strings.Join(words, " ")
		}
	}
	return ""
}
