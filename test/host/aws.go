package host

import (
	"context"
	"net/http"

	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

// SecretsManager starts AWS's Secrets Manager in the Host's account and region,
// all of whose secrets the Host's role may read.
func (h *Host) SecretsManager() (*Store, *awssim.SecretsManager, error) {
	permissions := new(awssim.Permissions)
	for _, action := range []string{"GetSecretValue", "BatchGetSecretValue", "DescribeSecret"} {
		permissions.Allow(h.AWS.RoleARN(Role), "secretsmanager:"+action, "*")
	}
	manager := awssim.NewSecretsManager(h.AWS, Region, permissions)
	s := &Store{
		Name: "AWS Secrets Manager", Faults: &manager.Faults, Pattern: "aws:outage/**",
		Ref: func(name string) string { return "aws:outage/" + name },
		Put: func(_ context.Context, name, value string) error {
			manager.PutText("outage/"+name, value)
			return nil
		},
		Throttled: awssim.JSONThrottled, Garbage: garbage,
	}
	return s, manager, h.serveAWS(s, "SECRETS_MANAGER", manager)
}

// ParameterStore starts AWS's Parameter Store, as SecretsManager.
func (h *Host) ParameterStore() (*Store, error) {
	permissions := new(awssim.Permissions)
	permissions.Allow(h.AWS.RoleARN(Role), "ssm:GetParameter*", "*")
	parameters := awssim.NewParameterStore(h.AWS, Region, permissions)
	s := &Store{
		Name: "AWS Parameter Store", Faults: &parameters.Faults, Pattern: "aws:ssm/outage/**",
		Ref: func(name string) string { return "aws:ssm/outage/" + name },
		Put: func(_ context.Context, name, value string) error {
			parameters.Put("/outage/"+name, value)
			return nil
		},
		Throttled: awssim.JSONThrottled, Garbage: garbage,
	}
	return s, h.serveAWS(s, "SSM", parameters)
}

// serveAWS starts a service over TLS, and says so in the variables of AWS's
// SDK.
func (h *Host) serveAWS(s *Store, variable string, service http.Handler) error {
	file, o, err := h.authority(s)
	if err != nil {
		return err
	}
	url, err := s.serve(nil, service, o)
	s.Settings = "identity: aws\nproviders: {aws: {region: " + Region + "}}\n"
	s.Environment = []string{"AWS_ENDPOINT_URL_" + variable + "=" + url, "AWS_CA_BUNDLE=" + file}
	return err
}
