package aws_test

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

const (
	fips = "AWS_USE_FIPS_ENDPOINT"
	dual = "AWS_USE_DUALSTACK_ENDPOINT"
	own  = "AWS_ENDPOINT_URL_STS"
)

// signedFor is the URL and the region of a signed request.
func signedFor(t *testing.T, evidence auth.Evidence) (url, region string) {
	t.Helper()
	r := request(t, evidence)
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	return r.URL.String(), strings.Split(scope, "/")[2]
}

// Each STS that a request can be signed for, and the region that the signature
// names. The instance is in host.
func TestEndpoints(t *testing.T) {
	for name, c := range map[string]struct {
		host    string
		options aws.Options
		set     map[string]string
		url     string
		region  string
	}{
		"default":                  {url: "https://sts.amazonaws.com/", region: "us-east-1"},
		"the global region":        {options: aws.Options{STSRegion: "us-east-1"}, url: "https://sts.amazonaws.com/", region: "us-east-1"},
		"regional":                 {options: aws.Options{STSRegion: "eu-central-1"}, url: "https://sts.eu-central-1.amazonaws.com/", region: "eu-central-1"},
		"China":                    {options: aws.Options{STSRegion: "cn-north-1"}, url: "https://sts.cn-north-1.amazonaws.com.cn/", region: "cn-north-1"},
		"GovCloud":                 {options: aws.Options{STSRegion: "us-gov-west-1"}, url: "https://sts.us-gov-west-1.amazonaws.com/", region: "us-gov-west-1"},
		"in China by default":      {host: "cn-northwest-1", url: "https://sts.cn-northwest-1.amazonaws.com.cn/", region: "cn-northwest-1"},
		"in GovCloud by default":   {host: "us-gov-east-1", url: "https://sts.us-gov-east-1.amazonaws.com/", region: "us-gov-east-1"},
		"in China, told otherwise": {host: "cn-north-1", options: aws.Options{STSRegion: "us-east-1"}, url: "https://sts.amazonaws.com/", region: "us-east-1"},
		"FIPS":                     {set: map[string]string{fips: "true"}, url: "https://sts-fips.us-east-1.amazonaws.com/", region: "us-east-1"},
		"FIPS, regional":           {options: aws.Options{STSRegion: "us-west-2"}, set: map[string]string{fips: "TRUE"}, url: "https://sts-fips.us-west-2.amazonaws.com/", region: "us-west-2"},
		"FIPS, GovCloud":           {options: aws.Options{STSRegion: "us-gov-west-1"}, set: map[string]string{fips: "true"}, url: "https://sts.us-gov-west-1.amazonaws.com/", region: "us-gov-west-1"},
		"FIPS, not":                {set: map[string]string{fips: "false"}, url: "https://sts.amazonaws.com/", region: "us-east-1"},
		"dual stack":               {options: aws.Options{STSRegion: "eu-west-1"}, set: map[string]string{dual: "true"}, url: "https://sts.eu-west-1.api.aws/", region: "eu-west-1"},
		"dual stack, China":        {options: aws.Options{STSRegion: "cn-north-1"}, set: map[string]string{dual: "true"}, url: "https://sts.cn-north-1.api.amazonwebservices.com.cn/", region: "cn-north-1"},
		"dual stack, FIPS":         {options: aws.Options{STSRegion: "us-east-2"}, set: map[string]string{dual: "true", fips: "true"}, url: "https://sts-fips.us-east-2.api.aws/", region: "us-east-2"},
		"VPC endpoint":             {options: aws.Options{STSEndpoint: "https://vpce-0abc-1.sts.eu-west-1.vpce.amazonaws.com"}, url: "https://vpce-0abc-1.sts.eu-west-1.vpce.amazonaws.com/", region: "eu-west-1"},
		"VPC endpoint, China":      {options: aws.Options{STSEndpoint: "https://vpce-0abc-1.sts.cn-north-1.vpce.amazonaws.com.cn/"}, url: "https://vpce-0abc-1.sts.cn-north-1.vpce.amazonaws.com.cn/", region: "cn-north-1"},
		"own name":                 {options: aws.Options{STSEndpoint: "https://sts.internal", STSRegion: "eu-west-1"}, url: "https://sts.internal/", region: "eu-west-1"},
		"own name and no region":   {options: aws.Options{STSEndpoint: "https://sts.internal"}, url: "https://sts.internal/", region: "us-east-1"},
		"own name over all":        {options: aws.Options{STSEndpoint: "https://sts.internal"}, set: map[string]string{own: "https://other.internal", fips: "true"}, url: "https://sts.internal/", region: "us-east-1"},
		"the SDK's variable":       {set: map[string]string{own: "https://sts.eu-west-3.amazonaws.com"}, url: "https://sts.eu-west-3.amazonaws.com/", region: "eu-west-3"},
		"in China, own name":       {host: "cn-north-1", set: map[string]string{own: "https://sts.internal"}, url: "https://sts.internal/", region: "us-east-1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			t.Setenv(own, "")
			for variable, value := range c.set {
				t.Setenv(variable, value)
			}
			if c.host != "" {
				imds := awssim.NewIMDS(w.account, awssim.Instance{ID: "i-0123456789abcdef0", Region: c.host, Role: "docker-host"})
				t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", serve(t, imds))
			}
			evidence, err := attest(t, c.options, "")
			if err != nil {
				t.Fatal(err)
			}
			if url, region := signedFor(t, evidence); url != c.url || region != c.region {
				t.Errorf("signed for %s in %s, want %s in %s", url, region, c.url, c.region)
			}
			if evidence.Remark != "signed for "+c.url {
				t.Errorf("the remark is %q", evidence.Remark)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	clearVariables(t)
	for want, c := range map[string]struct {
		options aws.Options
		set     map[string]string
	}{
		`vault.sts_region "eu west": write a region`:         {options: aws.Options{STSRegion: "eu west"}},
		`vault.sts_region "EU-WEST-1": write a region`:       {options: aws.Options{STSRegion: "EU-WEST-1", STSEndpoint: "https://sts.internal"}},
		`AWS_ENDPOINT_URL_STS: write it as`:                  {set: map[string]string{own: "sts.internal"}},
		`AWS_ENDPOINT_URL_STS: write it as https://host`:     {set: map[string]string{own: "ftp://internal"}},
		`AWS_ENDPOINT_URL_STS: tokens would cross`:           {set: map[string]string{own: "http://sts.internal"}},
		`vault.sts_endpoint: write it as`:                    {options: aws.Options{STSEndpoint: "sts.internal"}},
		`vault.sts_endpoint: only scheme, host, port`:        {options: aws.Options{STSEndpoint: "https://a/?b=c"}},
		`vault.sts_endpoint: tokens would cross the network`: {options: aws.Options{STSEndpoint: "http://10.0.0.1"}},
		`AWS_USE_FIPS_ENDPOINT "yes": write true or false`:   {set: map[string]string{fips: "yes"}},
		`AWS_USE_DUALSTACK_ENDPOINT "1": write true or`:      {set: map[string]string{dual: "1"}},
		`aws.login "EC2": write iam or ec2`:                  {options: aws.Options{Type: "EC2"}},
	} {
		t.Run(want, func(t *testing.T) {
			for variable, value := range c.set {
				t.Setenv(variable, value)
			}
			if _, err := aws.New(c.options); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v; want %s", err, want)
			}
		})
	}
}
