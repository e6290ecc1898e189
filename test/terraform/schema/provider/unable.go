package main

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// unable is what a schema alone cannot do: all that has to do with real
// resources. Under mock_provider Terraform never asks for any of it.
type unable struct{ name string }

func (u unable) err() error {
	return fmt.Errorf("this is only the schema of the provider %s, for validate and for tests with mock_provider: install the real one", u.name)
}

// ConfigureProvider implements tfprotov6.ProviderServer.
func (u unable) ConfigureProvider(context.Context, *tfprotov6.ConfigureProviderRequest) (*tfprotov6.ConfigureProviderResponse, error) {
	return nil, u.err()
}

// UpgradeResourceState implements tfprotov6.ResourceServer.
func (u unable) UpgradeResourceState(context.Context, *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	return nil, u.err()
}

// ReadResource implements tfprotov6.ResourceServer.
func (u unable) ReadResource(context.Context, *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	return nil, u.err()
}

// PlanResourceChange implements tfprotov6.ResourceServer.
func (u unable) PlanResourceChange(context.Context, *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	return nil, u.err()
}

// ApplyResourceChange implements tfprotov6.ResourceServer.
func (u unable) ApplyResourceChange(context.Context, *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	return nil, u.err()
}

// ImportResourceState implements tfprotov6.ResourceServer.
func (u unable) ImportResourceState(context.Context, *tfprotov6.ImportResourceStateRequest) (*tfprotov6.ImportResourceStateResponse, error) {
	return nil, u.err()
}

// MoveResourceState implements tfprotov6.ResourceServer.
func (u unable) MoveResourceState(context.Context, *tfprotov6.MoveResourceStateRequest) (*tfprotov6.MoveResourceStateResponse, error) {
	return nil, u.err()
}

// UpgradeResourceIdentity implements tfprotov6.ResourceServer.
func (u unable) UpgradeResourceIdentity(context.Context, *tfprotov6.UpgradeResourceIdentityRequest) (*tfprotov6.UpgradeResourceIdentityResponse, error) {
	return nil, u.err()
}

// ReadDataSource implements tfprotov6.DataSourceServer.
func (u unable) ReadDataSource(context.Context, *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	return nil, u.err()
}

// CallFunction implements tfprotov6.FunctionServer.
func (u unable) CallFunction(context.Context, *tfprotov6.CallFunctionRequest) (*tfprotov6.CallFunctionResponse, error) {
	return nil, u.err()
}

// ValidateEphemeralResourceConfig implements tfprotov6.EphemeralResourceServer.
func (u unable) ValidateEphemeralResourceConfig(context.Context, *tfprotov6.ValidateEphemeralResourceConfigRequest) (*tfprotov6.ValidateEphemeralResourceConfigResponse, error) {
	return nil, u.err()
}

// OpenEphemeralResource implements tfprotov6.EphemeralResourceServer.
func (u unable) OpenEphemeralResource(context.Context, *tfprotov6.OpenEphemeralResourceRequest) (*tfprotov6.OpenEphemeralResourceResponse, error) {
	return nil, u.err()
}

// RenewEphemeralResource implements tfprotov6.EphemeralResourceServer.
func (u unable) RenewEphemeralResource(context.Context, *tfprotov6.RenewEphemeralResourceRequest) (*tfprotov6.RenewEphemeralResourceResponse, error) {
	return nil, u.err()
}

// CloseEphemeralResource implements tfprotov6.EphemeralResourceServer.
func (u unable) CloseEphemeralResource(context.Context, *tfprotov6.CloseEphemeralResourceRequest) (*tfprotov6.CloseEphemeralResourceResponse, error) {
	return nil, u.err()
}
