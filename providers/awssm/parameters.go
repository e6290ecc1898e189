package awssm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// maxBelow is how many parameters of a hierarchy make one secret.
const maxBelow = 500

// readParameter reads one parameter, decrypted.
func (p *Provider) readParameter(ctx context.Context, t target) (secret.Secret, error) {
	issued := p.now()
	found, err := p.getParameter(ctx, t, true)
	if err != nil {
		return secret.Secret{}, err
	}
	return parameterOf(t, issued, found)
}

func (p *Provider) getParameter(ctx context.Context, t target, decrypt bool) (*types.Parameter, error) {
	return ask(ctx, p, t, "ssm:GetParameter", func(c *clients, region string) (*types.Parameter, error) {
		id := t.in(region)
		if t.ref.Version != "" {
			id += ":" + t.ref.Version
		}
		answer, err := c.parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: &id, WithDecryption: &decrypt})
		if err != nil {
			return nil, err
		}
		return answer.Parameter, nil
	})
}

func parameterOf(t target, issued time.Time, found *types.Parameter) (secret.Secret, error) {
	if found == nil || found.Value == nil || found.Version < 1 {
		return secret.Secret{}, notAWS(t)
	}
	return secret.Secret{
		Ref: t.ref, Version: strconv.FormatInt(found.Version, 10), Lease: secret.Lease{IssuedAt: issued},
		Fields: map[string]secret.Value{providers.OnlyField: secret.NewValue([]byte(*found.Value))},
	}, nil
}

// parameterVersion asks for a parameter without having it decrypted: what is
// secret stays so.
func (p *Provider) parameterVersion(ctx context.Context, t target) (string, error) {
	found, err := p.getParameter(ctx, t, false)
	if err != nil {
		return "", err
	}
	if found == nil || found.Version < 1 {
		return "", notAWS(t)
	}
	return strconv.FormatInt(found.Version, 10), nil
}

// readBelow reads a hierarchy of parameters as one secret, whose fields are
// named by what follows the path.
func (p *Provider) readBelow(ctx context.Context, t target) (secret.Secret, error) {
	issued := p.now()
	version, found, err := p.listBelow(ctx, t, true)
	if err != nil {
		return secret.Secret{}, err
	}
	all := secret.Secret{Ref: t.ref, Version: version, Fields: map[string]secret.Value{}, Lease: secret.Lease{IssuedAt: issued}}
	for _, parameter := range found {
		name := strings.TrimPrefix(strings.TrimPrefix(*parameter.Name, t.id), "/")
		all.Fields[name] = secret.NewValue([]byte(*parameter.Value))
	}
	return all, nil
}

// listBelow finds the parameters of a hierarchy, page by page. Their version
// as a whole is a digest of all names and versions, so it changes whenever one
// of them is written, comes or goes.
func (p *Provider) listBelow(ctx context.Context, t target, decrypt bool) (version string, found []types.Parameter, err error) {
	var next *string
	for {
		page, err := ask(ctx, p, t, "ssm:GetParametersByPath", func(c *clients, _ string) (*ssm.GetParametersByPathOutput, error) {
			return c.parameters.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{
				Path: &t.id, Recursive: &t.recursive, WithDecryption: &decrypt, NextToken: next})
		})
		if err != nil {
			return "", nil, err
		}
		found = append(found, page.Parameters...)
		if next = page.NextToken; next == nil || *next == "" {
			break
		}
		if len(found) >= maxBelow {
			return "", nil, fmt.Errorf("%w: %s: there are more than %d parameters below %s: choose a longer path",
				providers.ErrInvalid, t.store.title, maxBelow, t.id)
		}
	}
	if len(found) == 0 {
		return "", nil, fmt.Errorf("%w: %s: there are no parameters below %s", providers.ErrNotFound, t.store.title, t.id)
	}
	var lines []string
	for _, parameter := range found {
		if parameter.Name == nil || parameter.Value == nil {
			return "", nil, notAWS(t)
		}
		lines = append(lines, fmt.Sprintf("%s %d\n", *parameter.Name, parameter.Version))
	}
	slices.Sort(lines)
	digest := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(digest[:8]), found, nil
}
