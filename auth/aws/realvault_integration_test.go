//go:build integration

package aws_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/test/realvault"
)

const serverID = "vault.internal"

// cloud is a region of AWS with two accounts, and a real Vault that belongs to
// the first and asks it, and STS of two regions, with keys of its own.
type cloud struct {
	env       *cloudsim.Environment
	ahead     atomic.Int64 // what the cloud's clock goes before the machine's
	account   *awssim.Account
	stranger  *awssim.Account
	notary    *awssim.Notary
	sts, ec2  *awssim.Service
	vault     *realvault.Vault
	instance  awssim.Instance // of the attempt
	imds      *awssim.IMDS    // of the attempt
	task      *awssim.TaskMetadata
	nonceFile string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{}
	c.env = cloudsim.NewEnvironment(func() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }, nil)
	c.account, c.stranger = awssim.NewAccount("111122223333", c.env), awssim.NewAccount("999988887777", c.env)
	c.account.AddUser("/", "vault")
	keys, err := c.account.UserKeys("vault")
	must(t, err)
	c.notary, err = awssim.NewNotary()
	must(t, err)
	c.sts, c.ec2 = awssim.NewSTS(c.account, "us-east-1", c.stranger), awssim.NewEC2(c.account, "us-east-1")
	asked := realvault.AWSAuth{
		STS: serve(t, c.sts), IAM: serve(t, awssim.NewIAM(c.account)), EC2: serve(t, c.ec2),
		ServerID: serverID, AccessKey: keys.AccessKeyID, SecretKey: keys.SecretAccessKey,
	}
	v := realvault.ForTest(t, realvault.Options{})
	for mount, sts := range map[string]string{
		"aws": asked.STS, "teams/shop/aws": asked.STS, "aws-eu": serve(t, awssim.NewSTS(c.account, "eu-west-1", c.stranger)),
	} {
		asked.Mount, asked.STS = mount, sts
		must(t, v.EnableAWS(t.Context(), asked))
		must(t, v.TrustAWSCertificate(t.Context(), mount, "us-east-1", c.notary.PEM()))
	}
	must(t, v.SetSTSRegion(t.Context(), "aws-eu", "eu-west-1"))
	must(t, v.WritePolicy(t.Context(), "shop", `path "kv/data/shop/*" { capabilities = ["read"] }`))
	must(t, v.MountKV(t.Context(), "kv", 2))
	_, err = v.PutKV2(t.Context(), "kv", "shop/db", map[string]any{"password": "correct horse"})
	must(t, err)
	c.vault = v
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// renew makes roles, instance and clock anew, so that Vault knows nothing of
// them from an earlier attempt.
func (c *cloud) renew(t *testing.T) {
	t.Helper()
	c.ahead.Store(0)
	c.sts.Clear("")
	c.ec2.Clear("")
	for _, name := range []string{"docker-host", "docker-task", "successor"} {
		c.account.AddRole("/hosts/", name)
		c.stranger.AddRole("/hosts/", name)
	}
	c.instance = awssim.Instance{ID: "i-" + c.env.Text(cloudsim.Hex, 17), Region: "us-east-1", AvailabilityZone: "us-east-1a", Role: "docker-host", Notary: c.notary}
	c.nonceFile = filepath.Join(t.TempDir(), "nonce")
	c.task = awssim.NewTaskMetadata(c.account, awssim.Task{Region: "us-east-1", AvailabilityZone: "us-east-1a", Role: "docker-task", Authorization: "of the agent"})
	clearVariables(t)
	c.runOn(t, c.account, c.instance)
}

// runOn makes the host an instance.
func (c *cloud) runOn(t *testing.T, account *awssim.Account, instance awssim.Instance) {
	t.Helper()
	c.imds = awssim.NewIMDS(account, instance)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", serve(t, c.imds))
}

// attempt is one login and what comes of it.
type attempt struct {
	kind  aws.Type
	bound realvault.AWSRole // its type is kind unless it says otherwise

	before  func(t *testing.T, c *cloud)                                // the attestation
	host    func(c *cloud, o *aws.Options)                              // how it is made
	change  func(t *testing.T, c *cloud, login map[string]secret.Value) // on its way to Vault
	source  func(o *vaultlogin.Options)                                 // how the host logs in
	refused string                                                      // what the person reads; empty: the login passes
	remark  string                                                      // what the log says of the evidence
}

// run makes the attempt at a role of its own, and returns what came of it.
func (a attempt) run(t *testing.T, c *cloud) (*vaultclient.Client, auth.Token, error) {
	t.Helper()
	c.renew(t)
	for _, mount := range []string{"aws", "teams/shop/aws", "aws-eu"} {
		_, err := c.vault.Client().Logical().DeleteWithContext(t.Context(), "auth/"+mount+"/role/docker-host")
		must(t, err)
		role := a.bound
		role.Mount, role.Name, role.Policies, role.TTL = mount, "docker-host", []string{"shop"}, time.Hour
		if role.Type == "" {
			role.Type = string(a.kind)
		}
		if slices.Equal(role.Instances, this) {
			role.Instances = []string{c.instance.ID}
		}
		must(t, c.vault.WriteAWSRole(t.Context(), role))
	}
	if a.before != nil {
		a.before(t, c)
	}
	return a.logIn(t, c)
}

// logIn logs in as the agent does, and looks that no evidence is in its log or
// error.
func (a attempt) logIn(t *testing.T, c *cloud) (*vaultclient.Client, auth.Token, error) {
	t.Helper()
	options := aws.Options{Type: a.kind, NonceFile: c.nonceFile}
	if a.host != nil {
		a.host(c, &options)
	}
	attestor, err := aws.New(options)
	must(t, err)
	client, err := vaultclient.New(vaultclient.Config{Address: c.vault.Address()})
	must(t, err)
	t.Cleanup(client.CloseIdleConnections)
	shown := &altered{Attestor: attestor, change: func(login map[string]secret.Value) {
		if a.change != nil {
			a.change(t, c, login)
		}
	}}
	var log bytes.Buffer
	login := vaultlogin.Options{Client: client, Attestor: shown, Mount: "aws", Role: "docker-host", Audience: serverID,
		Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if a.source != nil {
		a.source(&login)
	}
	source, err := vaultlogin.New(login)
	must(t, err)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	ended := make(chan error)
	go func() { ended <- source.Run(ctx) }()
	token, err := source.Token(ctx)
	stop()
	must(t, <-ended)
	shown.inNone(t, log.String(), err)
	if !strings.Contains(log.String(), a.remark) {
		t.Errorf("the log does not say %s:\n%s", a.remark, log.String())
	}
	return client, token, err
}

// altered is an attestor whose evidence is changed on the way.
type altered struct {
	auth.Attestor
	change func(login map[string]secret.Value)
	worth  []string // what must be seen by Vault alone
}

func (a *altered) Attest(ctx context.Context, audience string) (auth.Evidence, error) {
	evidence, err := a.Attestor.Attest(ctx, audience)
	if err != nil {
		return evidence, err
	}
	a.change(evidence.Login)
	for _, field := range []string{"nonce", "pkcs7"} {
		a.worth = append(a.worth, string(evidence.Login[field].Reveal())) // to look for it in texts
	}
	if evidence.Login["iam_request_headers"].Len() > 0 {
		headers := headersOf(evidence.Login)
		a.worth = append(a.worth, headers.Get("X-Amz-Security-Token"), headers.Get("Authorization"))
	}
	return evidence, nil
}

func (a *altered) inNone(t *testing.T, log string, err error) {
	t.Helper()
	for _, secret := range a.worth {
		for _, text := range []string{log, errorText(err)} {
			if len(secret) >= 16 && strings.Contains(text, secret[len(secret)-16:]) {
				t.Errorf("evidence in a text:\n%s", text)
			}
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// headersOf are the signed headers of a login of type iam.
func headersOf(login map[string]secret.Value) http.Header {
	var headers http.Header
	text, _ := base64.StdEncoding.DecodeString(string(login["iam_request_headers"].Reveal())) // a stand-in's keys signed them
	json.Unmarshal(text, &headers)
	return headers
}

// withHeaders changes the signed headers.
func withHeaders(change func(h http.Header)) func(*testing.T, *cloud, map[string]secret.Value) {
	return func(_ *testing.T, _ *cloud, login map[string]secret.Value) {
		headers := headersOf(login)
		change(headers)
		text, _ := json.Marshal(headers)
		login["iam_request_headers"] = encoded(string(text))
	}
}

// field replaces one field of the login.
func field(name, content string) func(*testing.T, *cloud, map[string]secret.Value) {
	return func(_ *testing.T, _ *cloud, login map[string]secret.Value) { login[name] = encoded(content) }
}

func encoded(content string) secret.Value {
	return secret.NewValue([]byte(base64.StdEncoding.EncodeToString([]byte(content))))
}

const (
	arnOfHost = "arn:aws:iam::111122223333:role/hosts/docker-host"
	canonical = "arn:aws:iam::111122223333:role/docker-host" // Vault drops a role's path, which sessions do not tell
)

// this stands for the instance of the attempt, whose ID is new each time.
var this = []string{"this"}

var (
	exact    = realvault.AWSRole{Principals: []string{canonical}}
	resolved = realvault.AWSRole{Principals: []string{arnOfHost}, ResolveUniqueIDs: true}
	inferred = realvault.AWSRole{Principals: []string{canonical}, InferRegion: "us-east-1"}
	ofImage  = realvault.AWSRole{AMIs: []string{awssim.ImageID}}
)

// passing are logins that must pass. The instance is one of us-east-1 in
// account 111122223333.
var passing = map[string]attempt{
	"iam, exact role":    {kind: aws.IAM, bound: exact, remark: "signed for https://sts.amazonaws.com/"},
	"iam, wildcard":      {kind: aws.IAM, bound: realvault.AWSRole{Principals: []string{"arn:aws:iam::111122223333:role/hosts/*"}}},
	"iam, unique ID":     {kind: aws.IAM, bound: resolved},
	"iam, wildcard, too": {kind: aws.IAM, bound: realvault.AWSRole{Principals: []string{"arn:aws:iam::111122223333:role/hosts/docker-*"}, ResolveUniqueIDs: true}},
	"iam, inferred instance": {kind: aws.IAM, bound: realvault.AWSRole{Principals: []string{canonical}, InferRegion: "us-east-1", AMIs: []string{awssim.ImageID},
		VPCs: []string{awssim.VPC}, Subnets: []string{awssim.Subnet}, Profiles: []string{"arn:aws:iam::111122223333:instance-profile/docker-*"}, IAMRoles: []string{arnOfHost}}},
	"iam, inferred, this instance": {kind: aws.IAM, bound: realvault.AWSRole{InferRegion: "us-east-1", Instances: this}},
	"iam, task role":               {kind: aws.IAM, bound: realvault.AWSRole{Principals: []string{"arn:aws:iam::111122223333:role/docker-task"}}, before: inTask},
	"iam, regional STS":            {kind: aws.IAM, bound: exact, host: inRegion("eu-west-1"), source: mount("aws-eu"), remark: "signed for https://sts.eu-west-1.amazonaws.com/"},
	"iam, VPC endpoint": {kind: aws.IAM, bound: exact, source: mount("aws-eu"), remark: "signed for https://vpce-0abc-1.sts.eu-west-1.vpce.amazonaws.com/",
		host: func(_ *cloud, o *aws.Options) {
			o.STSEndpoint = "https://vpce-0abc-1.sts.eu-west-1.vpce.amazonaws.com"
		}},
	"iam, FIPS endpoint": {kind: aws.IAM, bound: exact, before: variable("AWS_USE_FIPS_ENDPOINT", "true"), remark: "signed for https://sts-fips.us-east-1.amazonaws.com/"},
	"iam, renamed mount": {kind: aws.IAM, bound: exact, source: mount("teams/shop/aws")},
	"iam, batch token":   {kind: aws.IAM, bound: realvault.AWSRole{Principals: []string{canonical}, Batch: true}},
	"iam, host an hour ahead": {kind: aws.IAM, bound: exact, host: clock(time.Hour),
		remark: "this host's clock is 1h0m0s ahead: set it"},
	"iam, host an hour behind": {kind: aws.IAM, bound: exact, host: clock(-time.Hour),
		remark: "this host's clock is 1h0m0s behind: set it"},
	"iam, task on a host an hour behind": {kind: aws.IAM, bound: realvault.AWSRole{Principals: []string{"arn:aws:iam::111122223333:role/docker-task"}}, before: inTask, host: clock(-time.Hour)},
	"iam, keys rotated on the way":       {kind: aws.IAM, bound: exact, change: func(_ *testing.T, c *cloud, _ map[string]secret.Value) { c.imds.Rotate() }},
	"iam, role replaced in the middle": {kind: aws.IAM, bound: realvault.AWSRole{Principals: []string{"arn:aws:iam::111122223333:role/successor"}},
		before: func(_ *testing.T, c *cloud) { c.imds.ReplaceRole("successor") }},
	"ec2, image": {kind: aws.EC2, bound: ofImage},
	"ec2, all bounds": {kind: aws.EC2, bound: realvault.AWSRole{AMIs: []string{awssim.ImageID}, Instances: this, VPCs: []string{awssim.VPC}, Subnets: []string{awssim.Subnet},
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Profiles: []string{"arn:aws:iam::111122223333:instance-profile/docker-host"}, IAMRoles: []string{"arn:aws:iam::111122223333:role/hosts/*"}}},
	"ec2, no role in AWS":          {kind: aws.EC2, bound: ofImage, before: func(_ *testing.T, c *cloud) { c.imds.SetRole("") }},
	"ec2, again after a restart":   {kind: aws.EC2, bound: ofImage, before: firstLogin},
	"ec2, another nonce, migrated": {kind: aws.EC2, bound: realvault.AWSRole{AMIs: []string{awssim.ImageID}, AllowMigration: true}, before: migrated},
	"ec2, another nonce, forgotten": {kind: aws.EC2, bound: ofImage, before: func(t *testing.T, c *cloud) {
		rebooted(t, c)
		must(t, c.vault.ForgetInstance(t.Context(), "aws", c.instance.ID))
	}},
	"ec2, one login only":      {kind: aws.EC2, bound: realvault.AWSRole{AMIs: []string{awssim.ImageID}, DisallowReauthentication: true}},
	"ec2, host an hour behind": {kind: aws.EC2, bound: ofImage, host: clock(-time.Hour)},
}

// refused are logins that must not pass.
var refused = map[string]attempt{
	"iam, another role":     {kind: aws.IAM, bound: realvault.AWSRole{Principals: []string{"arn:aws:iam::111122223333:role/other"}}, refused: `does not belong to the role "docker-host"`},
	"iam, another path":     {kind: aws.IAM, bound: realvault.AWSRole{Principals: []string{"arn:aws:iam::111122223333:role/teams/*"}}, refused: `does not belong to the role "docker-host"`},
	"iam, another account":  {kind: aws.IAM, bound: exact, before: inAccount, refused: `IAM Principal "arn:aws:sts::999988887777:assumed-role/docker-host/i-`},
	"iam, same name, later": {kind: aws.IAM, bound: resolved, before: func(_ *testing.T, c *cloud) { c.account.AddRole("/hosts/", "docker-host") }, refused: `does not belong to the role "docker-host"`},
	"iam, wrong server ID":  {kind: aws.IAM, bound: exact, source: audience("other.internal"), refused: `error validating X-Vault-AWS-IAM-Server-ID header: expected "vault.internal" but got "other.internal"`},
	"iam, no server ID":     {kind: aws.IAM, bound: exact, source: audience(""), refused: `missing header "X-Vault-AWS-IAM-Server-ID"`},
	"iam, server ID unsigned": {kind: aws.IAM, bound: exact, source: audience(""), refused: "vault header wasn't signed",
		change: withHeaders(func(h http.Header) { h.Set("X-Vault-Aws-Iam-Server-Id", serverID) })},
	"iam, meant for another Vault": {kind: aws.IAM, bound: exact, source: audience("other.internal"), refused: "SignatureDoesNotMatch",
		change: withHeaders(func(h http.Header) { h.Set("X-Vault-Aws-Iam-Server-Id", serverID) })},
	"iam, changed body":    {kind: aws.IAM, bound: exact, change: field("iam_request_body", "Action=GetCallerIdentity&Version=2011-06-16"), refused: "SignatureDoesNotMatch"},
	"iam, another action":  {kind: aws.IAM, bound: exact, change: field("iam_request_body", "Action=GetSessionToken&Version=2011-06-15"), refused: "iam request body is invalid"},
	"iam, another host":    {kind: aws.IAM, bound: exact, change: field("iam_request_url", "https://sts.internal/"), refused: "SignatureDoesNotMatch"},
	"iam, another time":    {kind: aws.IAM, bound: exact, change: withHeaders(func(h http.Header) { h.Set("X-Amz-Date", "20200101T000000Z") }), refused: "Date in Credential scope does not match"},
	"iam, without token":   {kind: aws.IAM, bound: exact, change: withHeaders(func(h http.Header) { h.Del("X-Amz-Security-Token") }), refused: "InvalidClientTokenId"},
	"iam, unsigned":        {kind: aws.IAM, bound: exact, change: withHeaders(func(h http.Header) { h.Del("Authorization") }), refused: "missing Authorization header"},
	"iam, replayed":        {kind: aws.IAM, bound: exact, change: later(16 * time.Minute), refused: "Signature expired: "},
	"iam, ahead of time":   {kind: aws.IAM, bound: exact, change: later(-16 * time.Minute), refused: "Signature not yet current: "},
	"iam, keys ended":      {kind: aws.IAM, bound: exact, before: func(_ *testing.T, c *cloud) { c.imds.SetLifetime(time.Minute) }, change: later(2 * time.Minute), refused: "ExpiredToken"},
	"iam, role gone":       {kind: aws.IAM, bound: exact, change: func(_ *testing.T, c *cloud, _ map[string]secret.Value) { c.account.RemoveRole("docker-host") }, refused: "InvalidClientTokenId"},
	"iam, role of ec2":     {kind: aws.IAM, bound: realvault.AWSRole{Type: "ec2", AMIs: []string{awssim.ImageID}}, refused: "auth method iam not allowed for role docker-host (this host is arn:aws:iam::111122223333:role/docker-host on i-"},
	"iam, unknown role":    {kind: aws.IAM, bound: exact, source: func(o *vaultlogin.Options) { o.Role = "nobody" }, refused: "entry for role nobody not found"},
	"iam, role withdrawn":  {kind: aws.IAM, bound: exact, before: withdraw, refused: "entry for role docker-host not found"},
	"iam, wrong mount":     {kind: aws.IAM, bound: exact, source: mount("nowhere"), refused: "is an auth method of type aws mounted at auth/nowhere? see vault.mount"},
	"iam, region of STS":   {kind: aws.IAM, bound: exact, source: mount("aws-eu"), refused: "Credential should be scoped to a valid region"},
	"iam, STS named in it": {kind: aws.IAM, bound: exact, host: inRegion("eu-west-1"), refused: "(signed for https://sts.eu-west-1.amazonaws.com/)"},
	"iam, clock of metadata wrong": {kind: aws.IAM, bound: exact, before: func(_ *testing.T, c *cloud) { c.imds.SetSkew(-time.Hour) },
		refused: "(signed for https://sts.amazonaws.com/; this host's clock is 1h0m0s ahead: set it"},
	"iam, task at an inferring role": {kind: aws.IAM, bound: realvault.AWSRole{InferRegion: "us-east-1", AMIs: []string{awssim.ImageID}}, before: inTask, refused: "InvalidInstanceID.Malformed"},
	"iam, inferred, image":           {kind: aws.IAM, bound: with(inferred, func(r *realvault.AWSRole) { r.AMIs = []string{"ami-0"} }), refused: `AMI ID "ami-0123456789abcdef0" does not belong to role`},
	"iam, inferred, network":         {kind: aws.IAM, bound: with(inferred, func(r *realvault.AWSRole) { r.VPCs = []string{"vpc-0"} }), refused: `VPC ID "vpc-0123456789abcdef0" does not satisfy the constraint`},
	"iam, inferred, subnet":          {kind: aws.IAM, bound: with(inferred, func(r *realvault.AWSRole) { r.Subnets = []string{"subnet-0"} }), refused: `subnet ID "subnet-0123456789abcdef0" does not satisfy the constraint`},
	"iam, inferred, instance":        {kind: aws.IAM, bound: with(inferred, func(r *realvault.AWSRole) { r.Instances = []string{"i-0"} }), refused: `does not belong to the role "docker-host"`},
	"iam, inferred, terminated":      {kind: aws.IAM, bound: inferred, before: state("terminated"), refused: "instance is not in 'running' state"},
	"iam, inferred, elsewhere":       {kind: aws.IAM, bound: inferred, before: inOhio, refused: "InvalidInstanceID.NotFound"},

	"ec2, forged document":   {kind: aws.EC2, bound: ofImage, before: forged, refused: "write AWS's RSA-2048 certificate of the instance's region to auth/aws/config/certificate/<name>"},
	"ec2, changed document":  {kind: aws.EC2, bound: ofImage, change: otherAccount, refused: "failed to verify the signature"},
	"ec2, no document":       {kind: aws.EC2, bound: ofImage, change: field("pkcs7", "hello"), refused: "PKCS#7 signature"},
	"ec2, another image":     {kind: aws.EC2, bound: realvault.AWSRole{AMIs: []string{"ami-0"}}, refused: `Error validating instance: AMI ID "ami-0123456789abcdef0" does not belong to role "docker-host"`},
	"ec2, another region":    {kind: aws.EC2, bound: realvault.AWSRole{Regions: []string{"eu-west-1"}}, refused: `Region "us-east-1" does not satisfy the constraint on role "docker-host"`},
	"ec2, another network":   {kind: aws.EC2, bound: realvault.AWSRole{VPCs: []string{"vpc-0"}}, refused: `VPC ID "vpc-0123456789abcdef0" does not satisfy the constraint`},
	"ec2, another subnet":    {kind: aws.EC2, bound: realvault.AWSRole{Subnets: []string{"subnet-0"}}, refused: `subnet ID "subnet-0123456789abcdef0" does not satisfy the constraint`},
	"ec2, another instance":  {kind: aws.EC2, bound: realvault.AWSRole{Instances: []string{"i-0"}}, refused: `does not belong to the role "docker-host"`},
	"ec2, account not bound": {kind: aws.EC2, bound: realvault.AWSRole{Accounts: []string{"444455556666"}}, refused: `account ID "111122223333" does not belong to role "docker-host"`},
	"ec2, another account":   {kind: aws.EC2, bound: ofImage, before: inAccount, refused: `account ID "999988887777"`},
	"ec2, another profile":   {kind: aws.EC2, bound: realvault.AWSRole{Profiles: []string{"arn:aws:iam::111122223333:instance-profile/other"}}, refused: "does not satisfy the constraint role"},
	"ec2, another role":      {kind: aws.EC2, bound: realvault.AWSRole{IAMRoles: []string{"arn:aws:iam::111122223333:role/other"}}, refused: `IAM role ARN "` + arnOfHost + `" does not satisfy the constraint`},
	"ec2, no profile":        {kind: aws.EC2, bound: realvault.AWSRole{Profiles: []string{"arn:aws:iam::111122223333:instance-profile/other"}}, before: func(_ *testing.T, c *cloud) { c.imds.SetRole("") }, refused: "IAM instance profile in the instance description is nil"},
	"ec2, terminated":        {kind: aws.EC2, bound: ofImage, before: state("terminated"), refused: "instance is not in 'running' state"},
	"ec2, another nonce":     {kind: aws.EC2, bound: ofImage, before: rebooted, refused: "client nonce mismatch (this host is i-"},
	"ec2, nonce and advice":  {kind: aws.EC2, bound: ofImage, before: rebooted, refused: "delete auth/aws/identity-accesslist/<instance ID>"},
	"ec2, migration by reboot": {kind: aws.EC2, bound: realvault.AWSRole{AMIs: []string{awssim.ImageID}, AllowMigration: true}, before: rebooted,
		refused: "client nonce mismatch and instance meta-data incorrect"},
	"ec2, no nonce":           {kind: aws.EC2, bound: ofImage, before: firstLogin, change: func(_ *testing.T, _ *cloud, l map[string]secret.Value) { delete(l, "nonce") }, refused: "client nonce mismatch"},
	"ec2, one login was made": {kind: aws.EC2, bound: realvault.AWSRole{AMIs: []string{awssim.ImageID}, DisallowReauthentication: true}, before: firstLogin, refused: "reauthentication is disabled (this host is i-"},
	"ec2, old document":       {kind: aws.EC2, bound: ofImage, before: firstLogin, change: olderDocument, refused: "instance meta-data is older than the one used for previous login"},
	"ec2, role of iam":        {kind: aws.EC2, bound: realvault.AWSRole{Type: "iam", Principals: []string{canonical}}, refused: "auth method ec2 not allowed for role docker-host"},
	"ec2, unknown role":       {kind: aws.EC2, bound: ofImage, source: func(o *vaultlogin.Options) { o.Role = "nobody" }, refused: `entry for role "nobody" not found`},
}

func TestRealVault(t *testing.T) {
	c := newCloud(t)
	counts := map[string]int{}
	for name, a := range passing {
		t.Run("passes/"+name, func(t *testing.T) {
			client, token, err := a.run(t, c)
			must(t, err)
			uses(t, client, token)
			counts["passed"]++
		})
	}
	for name, a := range refused {
		t.Run("refused/"+name, func(t *testing.T) {
			_, _, err := a.run(t, c)
			if !errors.Is(err, auth.ErrRefused) || !strings.Contains(err.Error(), a.refused) {
				t.Fatalf("%v\nis not ErrRefused with %s", err, a.refused)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("several lines: %v", err)
			}
			t.Log(err)
			counts["refused"]++
		})
	}
	t.Logf("logins against the real aws plugin:\n\tpassed   %d of %d\n\trefused  %d of %d",
		counts["passed"], len(passing), counts["refused"], len(refused))
}

// uses fails unless token reads the secret and, if it is no batch token, can be
// renewed, for which Vault may ask AWS again.
func uses(t *testing.T, client *vaultclient.Client, token auth.Token) {
	t.Helper()
	answer, err := client.With(token.Value).Logical().ReadWithContext(t.Context(), "kv/data/shop/db")
	if err != nil || answer.Data["data"].(map[string]any)["password"] != "correct horse" {
		t.Errorf("reading a secret: %v, %v", answer, err)
	}
	if !token.Renewable {
		return
	}
	if _, err := client.With(token.Value).Auth().Token().RenewSelfWithContext(t.Context(), 0); err != nil {
		t.Errorf("renewing: %v", err)
	}
}

// What Vault says of AWS being out of reach is no refusal, though it says 400.
func TestRealVaultCannotAsk(t *testing.T) {
	c := newCloud(t)
	for name, trouble := range map[string]struct {
		attempt
		set func()
	}{
		"STS fails": {attempt{kind: aws.IAM, bound: exact}, func() { c.sts.Set("", cloudsim.Fault{Status: 503, Times: 1, Header: xmlType}) }},
		"STS throttles": {attempt{kind: aws.IAM, bound: exact}, func() {
			c.sts.Set("", cloudsim.Fault{Status: 400, Times: 1, Header: xmlType, Body: "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>"})
		}},
		"STS is cut off": {attempt{kind: aws.IAM, bound: exact}, func() { c.sts.Set("", cloudsim.Fault{Reset: true, Times: 1}) }},
		"EC2 throttles": {attempt{kind: aws.EC2, bound: ofImage}, func() {
			c.ec2.Set("", cloudsim.Fault{Status: 503, Times: 1, Body: "<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			trouble.before = func(*testing.T, *cloud) { trouble.set() }
			client, token, err := trouble.run(t, c)
			must(t, err) // the login waited for the next try
			uses(t, client, token)
		})
	}
}

var xmlType = http.Header{"Content-Type": {"text/xml"}}

// A token that was good is not renewed once the instance is gone.
func TestRealVaultRenewsForLivingInstancesOnly(t *testing.T) {
	c := newCloud(t)
	for _, a := range []attempt{{kind: aws.EC2, bound: ofImage}, {kind: aws.IAM, bound: inferred}} {
		client, token, err := a.run(t, c)
		must(t, err)
		uses(t, client, token)
		c.imds.SetState("terminated")
		_, err = client.With(token.Value).Auth().Token().RenewSelfWithContext(t.Context(), 0)
		if failure := vaultclient.Classify(err); failure == nil || !strings.Contains(failure.Error(), "instance is not in 'running' state") {
			t.Errorf("%s: %v", a.kind, failure)
		}
	}
}

func audience(name string) func(*vaultlogin.Options) {
	return func(o *vaultlogin.Options) { o.Audience = name }
}

func mount(path string) func(*vaultlogin.Options) {
	return func(o *vaultlogin.Options) { o.Mount = path }
}

func inRegion(region string) func(*cloud, *aws.Options) {
	return func(_ *cloud, o *aws.Options) { o.STSRegion = region }
}

// clock is a host whose clock is wrong.
func clock(by time.Duration) func(*cloud, *aws.Options) {
	return func(_ *cloud, o *aws.Options) { o.Now = func() time.Time { return time.Now().Add(by) } }
}

// later shows the evidence to Vault, and Vault to STS, when so much time has
// passed in the cloud.
func later(by time.Duration) func(*testing.T, *cloud, map[string]secret.Value) {
	return func(_ *testing.T, c *cloud, _ map[string]secret.Value) { c.ahead.Store(int64(by)) }
}

func with(role realvault.AWSRole, change func(*realvault.AWSRole)) realvault.AWSRole {
	change(&role)
	return role
}

func variable(name, value string) func(*testing.T, *cloud) {
	return func(t *testing.T, _ *cloud) { t.Setenv(name, value) }
}

func state(name string) func(*testing.T, *cloud) {
	return func(_ *testing.T, c *cloud) { c.imds.SetState(name) }
}

// inTask makes the agent run in a container of ECS, beside the instance's role.
func inTask(t *testing.T, c *cloud) {
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", serve(t, c.task)+c.task.CredentialsPath())
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of the agent")
}

func inAccount(t *testing.T, c *cloud) { c.runOn(t, c.stranger, c.instance) }

func inOhio(t *testing.T, c *cloud) {
	c.instance.Region = "us-east-2"
	c.runOn(t, c.account, c.instance)
}

func withdraw(t *testing.T, c *cloud) {
	_, err := c.vault.Client().Logical().DeleteWithContext(t.Context(), "auth/aws/role/docker-host")
	must(t, err)
}

// firstLogin is a login of the agent before it was restarted.
func firstLogin(t *testing.T, c *cloud) {
	_, _, err := attempt{kind: aws.EC2}.logIn(t, c)
	must(t, err)
}

// rebooted is a login before the reboot that emptied the memory filesystem.
func rebooted(t *testing.T, c *cloud) {
	firstLogin(t, c)
	must(t, os.Remove(c.nonceFile))
}

// migrated is a login before the instance was stopped and started.
func migrated(t *testing.T, c *cloud) {
	rebooted(t, c)
	c.ahead.Store(int64(time.Minute))
	c.imds.Relaunch()
}

// forged signs the document with another certificate.
func forged(t *testing.T, c *cloud) {
	forger, err := awssim.NewNotary()
	must(t, err)
	c.instance.Notary = forger
	c.runOn(t, c.account, c.instance)
}

// otherAccount changes the document within its signature.
func otherAccount(_ *testing.T, _ *cloud, login map[string]secret.Value) {
	der, _ := base64.StdEncoding.DecodeString(string(login["pkcs7"].Reveal())) // a stand-in signed it
	login["pkcs7"] = encoded(strings.Replace(string(der), "111122223333", "999988887777", 1))
}

// olderDocument is what the instance had before it was stopped and started.
func olderDocument(t *testing.T, c *cloud, login map[string]secret.Value) {
	old := login["pkcs7"]
	c.ahead.Store(int64(time.Minute))
	c.imds.Relaunch()
	firstLogin(t, c)
	login["pkcs7"] = old
}
