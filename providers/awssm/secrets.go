package awssm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

const (
	current = "AWSCURRENT"
)

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// wanted is how a version is asked for.
type wanted struct{ id, stage *string }

// versions are the ways to understand a version, in order. AWS makes IDs that
// are UUIDs, but whoever stores a secret may bring another of 32 to 64
// characters, as Terraform does; such a text may be a label as well.
func versions(version string) []wanted {
	id, stage := wanted{id: &version}, wanted{stage: &version}
	switch {
	case version == "":
		return []wanted{{}}
	case uuid.MatchString(version):
		return []wanted{id}
	case len(version) < 32 || len(version) > 64:
		return []wanted{stage}
	}
	return []wanted{id, stage}
}

// readSecret reads one secret from Secrets Manager.
func (p *Provider) readSecret(ctx context.Context, t target) (secret.Secret, error) {
	issued := p.now()
	var answer *secretsmanager.GetSecretValueOutput
	var err error
	for _, version := range versions(t.ref.Version) {
		answer, err = ask(ctx, p, t, "secretsmanager:GetSecretValue", func(c *clients, region string) (*secretsmanager.GetSecretValueOutput, error) {
			return c.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(t.in(region)), VersionId: version.id, VersionStage: version.stage})
		})
		if !errors.Is(err, providers.ErrNotFound) {
			break
		}
	}
	if err != nil {
		return secret.Secret{}, err
	}
	return secretOf(t, issued, content{answer.VersionId, answer.SecretString, answer.SecretBinary})
}

// content is what Secrets Manager keeps: text, or bytes.
type content struct {
	version *string
	text    *string
	binary  []byte
}

func secretOf(t target, issued time.Time, c content) (secret.Secret, error) {
	found := secret.Secret{Ref: t.ref, Lease: secret.Lease{IssuedAt: issued}}
	switch {
	case c.version == nil || (c.text == nil && c.binary == nil):
		return secret.Secret{}, notAWS(t)
	case c.text != nil:
		found.Fields = providers.Fields([]byte(*c.text))
	default:
		found.Fields = map[string]secret.Value{providers.OnlyField: secret.NewValue(bytes.Clone(c.binary))}
	}
	found.Version = *c.version
	return found, nil
}

// notAWS: the answer has the form of AWS's, but not what belongs into it.
func notAWS(t target) error {
	return fmt.Errorf("%w: %s: %s: the answer is not AWS's: check what the endpoint or the proxy is",
		providers.ErrUnavailable, t.store.title, t.id)
}

// secretVersion finds the ID of the version that ref means, without its value.
func (p *Provider) secretVersion(ctx context.Context, t target) (string, error) {
	answer, err := ask(ctx, p, t, "secretsmanager:DescribeSecret", func(c *clients, region string) (*secretsmanager.DescribeSecretOutput, error) {
		return c.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(t.in(region))})
	})
	if err != nil {
		return "", err
	}
	if answer.DeletedDate != nil {
		return "", fmt.Errorf("%w: %s: %s is scheduled for deletion", providers.ErrNotFound, t.store.title, t.id)
	}
	version := t.ref.Version
	if version == "" {
		version = current
	}
	if _, isID := answer.VersionIdsToStages[version]; isID {
		return version, nil
	}
	for id, stages := range answer.VersionIdsToStages {
		if slices.Contains(stages, version) {
			return id, nil
		}
	}
	return "", fmt.Errorf("%w: %s: %s has no version %s", providers.ErrNotFound, t.store.title, t.id, version)
}
