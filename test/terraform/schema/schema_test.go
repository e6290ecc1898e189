package schema

import (
	"encoding/json"
	"reflect"
	"testing"
)

// What the providers' own documentation says of some arguments, one of each kind.
func TestSchemasSayWhatTheDocumentationSays(t *testing.T) {
	read := map[string]*Provider{}
	for _, name := range Names {
		provider, err := Read(name)
		if err != nil {
			t.Fatal(err)
		}
		if provider.Version == "" || provider.Package == "" || provider.Integrity == "" || provider.Config == nil {
			t.Errorf("%s does not say where it is from: %+v", name, provider)
		}
		read[name] = provider
	}
	template, machine := read["aws"].Resources["aws_launch_template"], read["google"].Resources["google_compute_instance_template"]
	scaleSet := read["azurerm"].Resources["azurerm_linux_virtual_machine_scale_set"]
	for what, is := range map[string]bool{
		"one block at most":    template.Blocks["metadata_options"].Max == 1 && template.Blocks["metadata_options"].Min == 0,
		"several blocks":       template.Blocks["network_interfaces"].Max == 0,
		"a set":                template.Attributes["vpc_security_group_ids"].Type == "set(string)",
		"only read":            reflect.DeepEqual(template.Attributes["arn"], Attribute{Computed: true, Type: "string"}),
		"a number":             template.Blocks["metadata_options"].Attributes["http_put_response_hop_limit"].Type == "number",
		"a block in a block":   template.Blocks["block_device_mappings"].Blocks["ebs"].Max == 1,
		"required":             read["aws"].Resources["aws_iam_role"].Attributes["assume_role_policy"].Required,
		"required blocks":      machine.Blocks["disk"].Min == 1,
		"a map":                machine.Attributes["metadata"].Type == "map(string)",
		"required and one":     scaleSet.Blocks["os_disk"].Min == 1 && scaleSet.Blocks["os_disk"].Max == 1,
		"a data source":        read["aws"].Data["aws_ami"].Blocks["filter"].Attributes["values"].Required,
		"data that is objects": read["aws"].Data["aws_ami"].Attributes["block_device_mappings"].Nesting == "set",
	} {
		if !is {
			t.Errorf("%s: the schema says otherwise", what)
		}
	}
	if _, err := Read("vault"); err == nil {
		t.Error("there is a schema of vault")
	}
}

func TestAttributesKeepTheirForm(t *testing.T) {
	for _, one := range []Attribute{
		{Required: true, Type: "string"},
		{Optional: true, Computed: true, Type: "map(list(string))"},
		{Computed: true, Nesting: "list", Attributes: map[string]Attribute{"a": {Computed: true, Type: "bool"}}},
	} {
		text, err := json.Marshal(one)
		var back Attribute
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || !reflect.DeepEqual(back, one) {
			t.Errorf("%+v → %s → %+v, %v", one, text, back, err)
		}
	}
}
