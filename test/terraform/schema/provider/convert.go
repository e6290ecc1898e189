package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/quaymaster/quaymaster/test/terraform/schema"
)

// convert puts a schema into the words of Terraform's protocol.
func convert(p *schema.Provider) (*tfprotov6.GetProviderSchemaResponse, error) {
	answer := &tfprotov6.GetProviderSchemaResponse{ResourceSchemas: map[string]*tfprotov6.Schema{}, DataSourceSchemas: map[string]*tfprotov6.Schema{}}
	config, err := block(*p.Config)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", p.Name, err)
	}
	answer.Provider = &tfprotov6.Schema{Block: config}
	for from, to := range map[*map[string]schema.Block]map[string]*tfprotov6.Schema{&p.Resources: answer.ResourceSchemas, &p.Data: answer.DataSourceSchemas} {
		for name, inside := range *from {
			converted, err := block(inside)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			to[name] = &tfprotov6.Schema{Block: converted}
		}
	}
	return answer, nil
}

func block(from schema.Block) (*tfprotov6.SchemaBlock, error) {
	own, err := attributes(from.Attributes)
	if err != nil {
		return nil, err
	}
	to := &tfprotov6.SchemaBlock{Attributes: own}
	for _, name := range slices.Sorted(maps.Keys(from.Blocks)) {
		inside := from.Blocks[name]
		converted, err := block(inside)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		nesting, known := map[string]tfprotov6.SchemaNestedBlockNestingMode{
			"list": tfprotov6.SchemaNestedBlockNestingModeList, "set": tfprotov6.SchemaNestedBlockNestingModeSet,
			"single": tfprotov6.SchemaNestedBlockNestingModeSingle,
		}[inside.Nesting]
		if !known {
			return nil, fmt.Errorf("%s: there are no blocks nested as a %s", name, inside.Nesting)
		}
		to.BlockTypes = append(to.BlockTypes, &tfprotov6.SchemaNestedBlock{TypeName: name, Block: converted, Nesting: nesting,
			MinItems: int64(inside.Min), MaxItems: int64(inside.Max)})
	}
	return to, nil
}

func attributes(from map[string]schema.Attribute) (all []*tfprotov6.SchemaAttribute, err error) {
	for _, name := range slices.Sorted(maps.Keys(from)) {
		a := from[name]
		to := &tfprotov6.SchemaAttribute{Name: name, Required: a.Required, Optional: a.Optional, Computed: a.Computed}
		if a.Nesting != "" {
			to.NestedType, err = object(a)
		} else {
			to.Type, err = typeOf(a.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, to)
	}
	return all, nil
}

func object(a schema.Attribute) (*tfprotov6.SchemaObject, error) {
	nesting, known := map[string]tfprotov6.SchemaObjectNestingMode{
		"list": tfprotov6.SchemaObjectNestingModeList, "set": tfprotov6.SchemaObjectNestingModeSet,
		"map": tfprotov6.SchemaObjectNestingModeMap, "single": tfprotov6.SchemaObjectNestingModeSingle,
	}[a.Nesting]
	if !known {
		return nil, fmt.Errorf("there are no objects nested as a %s", a.Nesting)
	}
	inside, err := attributes(a.Attributes)
	return &tfprotov6.SchemaObject{Attributes: inside, Nesting: nesting}, err
}

// typeOf reads a type as Terraform writes it.
func typeOf(text string) (tftypes.Type, error) {
	switch text {
	case "string":
		return tftypes.String, nil
	case "number":
		return tftypes.Number, nil
	case "bool":
		return tftypes.Bool, nil
	case "dynamic":
		return tftypes.DynamicPseudoType, nil
	}
	outer, inner, _ := strings.Cut(strings.TrimSuffix(text, ")"), "(")
	element, err := typeOf(inner)
	switch {
	case inner == "" || err != nil:
	case outer == "list":
		return tftypes.List{ElementType: element}, nil
	case outer == "set":
		return tftypes.Set{ElementType: element}, nil
	case outer == "map":
		return tftypes.Map{ElementType: element}, nil
	}
	return nil, fmt.Errorf("there is no type %q", text)
}
