package main

import (
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// unconfigurable finds what a configuration sets although it can only be read.
func unconfigurable(s *tfprotov6.Schema, config *tfprotov6.DynamicValue) ([]*tfprotov6.Diagnostic, error) {
	value, err := config.Unmarshal(s.ValueType())
	if err != nil {
		return nil, err
	}
	return readOnly(s.Block, value, tftypes.NewAttributePath())
}

func readOnly(block *tfprotov6.SchemaBlock, value tftypes.Value, at *tftypes.AttributePath) (all []*tfprotov6.Diagnostic, err error) {
	if value.IsNull() || !value.IsKnown() {
		return nil, nil
	}
	var inside map[string]tftypes.Value
	if err := value.As(&inside); err != nil {
		return nil, at.NewError(err)
	}
	for _, attribute := range block.Attributes {
		if attribute.Computed && !attribute.Optional && !inside[attribute.Name].IsNull() {
			all = append(all, &tfprotov6.Diagnostic{Severity: tfprotov6.DiagnosticSeverityError, Attribute: at.WithAttributeName(attribute.Name),
				Summary: "Value for unconfigurable attribute", Detail: "Can't configure a value for \"" + attribute.Name + "\": it can only be read."})
		}
	}
	for _, nested := range block.BlockTypes {
		below := at.WithAttributeName(nested.TypeName)
		parts := []tftypes.Value{inside[nested.TypeName]}
		if nested.Nesting != tfprotov6.SchemaNestedBlockNestingModeSingle && parts[0].IsKnown() {
			if err := inside[nested.TypeName].As(&parts); err != nil {
				return nil, below.NewError(err)
			}
		}
		for i, part := range parts {
			found, err := readOnly(nested.Block, part, below.WithElementKeyInt(i))
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}
