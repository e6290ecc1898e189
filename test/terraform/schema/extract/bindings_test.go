package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// bindingsOf a thing, in the form of the generated ones: thing_name is
// required, a part is a block of which there may be one, size is filled in.
const bindingsOf = `
"use strict";
const cdktf = require("cdktf");
function thingPartToHclTerraform(struct) {
    const attrs = {
        count: {
            value: cdktf.numberToHclTerraform(struct.count),
            isBlock: false,
            type: "simple",
            storageClassType: "number",
        },
        type: {
            value: cdktf.stringToHclTerraform(struct.type),
            isBlock: false,
            type: "simple",
            storageClassType: "string",
        },
    };
}
class ThingPartOutputReference extends cdktf.ComplexObject {
    resetType() {
    }
    // state - computed: true, optional: false, required: false
    get state() {
        return this.getStringAttribute('state');
    }
}
class ThingDiskOutputReference extends cdktf.ComplexObject {
    get sizes() {
        return cdktf.Token.asNumberList(cdktf.Fn.tolist(this.getNumberListAttribute('sizes')));
    }
}
class Thing extends cdktf.TerraformResource {
    constructor(scope, id, config) {
        this._part = new ThingPartOutputReference(this, "part");
        this._disks = new ThingDiskList(this, "disks", true);
    }
    get arn() {
        return this.getStringAttribute('arn');
    }
    resetName() {
    }
    resetPart() {
    }
    synthesizeHclAttributes() {
        const attrs = {
            thing_name: {
                value: cdktf.stringToHclTerraform(this._thingName),
                isBlock: false,
                type: "simple",
                storageClassType: "string",
            },
            name: {
                value: cdktf.stringToHclTerraform(this._name),
                isBlock: false,
                type: "simple",
                storageClassType: "string",
            },
            part: {
                value: thingPartToHclTerraform(this._part.internalValue),
                isBlock: true,
                type: "list",
                storageClassType: "ThingPartList",
            },
        };
    }
}
exports.Thing = Thing;
`

func TestBindingsAreRead(t *testing.T) {
	block, err := readBindings(bindingsOf)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(block)
	const want = `{"attributes":{"arn":"computed string","disks":{"use":"computed","nesting":"set","attributes":{"sizes":"computed set(number)"}},` +
		`"name":"optional computed string","thing_name":"required string"},` +
		`"blocks":{"part":{"nesting":"list","max":1,"attributes":{"count":"required number","state":"computed string","type":"optional string"}}}}`
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

// Whatever is not understood stops the extraction: a schema with a hole would
// let mistakes through.
func TestBindingsThatAreNotUnderstood(t *testing.T) {
	for old, new := range map[string]string{
		`storageClassType: "number"`:     `storageClassType: "numberMapList"`,
		"thingPartToHclTerraform(this":   "(0, index_structs_1.thingPartToHclTerraform)(this",
		"getStringAttribute('arn')":      "getBigAttribute('arn')",
		"class ThingDiskOutputReference": "class OtherDiskOutputReference",
		"class Thing extends":            "class Thing {} //",
		"            type: \"simple\"":   "            type: 'simple'",
	} {
		broken := strings.Replace(bindingsOf, old, new, 1)
		if broken == bindingsOf {
			t.Fatalf("there is no %s", old)
		}
		if block, err := readBindings(broken); err == nil {
			t.Errorf("%s was taken for %+v", new, block)
		}
	}
}
