package awssim

import (
	"strings"
	"testing"
)

// asks is what a role wants to do.
type asks struct {
	action, resource string
	about            facts
}

func TestAttachedPolicyDecides(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/docker-host"
	p := new(Permissions)
	if err := p.Attach(role, `{"Version":"2012-10-17","Statement":[
		{"Sid":"a","Effect":"Allow","Action":"s:Get","Resource":["arn:db-??????","arn:x/*-??????"]},
		{"Effect":"Deny","Action":["s:*"],"Resource":"arn:x/deep/*"},
		{"Effect":"Allow","Action":"s:List","Resource":"*","Condition":{"StringEquals":{"s:Deep":"false"}}}]}`); err != nil {
		t.Fatal(err)
	}
	caller := issued{arn: role, entity: entity{arn: role}}
	for question, allowed := range map[*asks]bool{
		{"s:Get", "arn:db-AbCdEf", nil}:                     true,
		{"s:Get", "arn:db-x-AbCdEf", nil}:                   false, // a longer name
		{"s:Get", "arn:db-AbCdE", nil}:                      false,
		{"s:Get", "arn:x/y/z-AbCdEf", nil}:                  true, // a * crosses slashes
		{"s:Get", "arn:x/deep/z-AbCdEf", nil}:               false,
		{"s:Put", "arn:db-AbCdEf", nil}:                     false,
		{"s:List", "arn:y", facts{"s:Deep": "false"}}:       true,
		{"s:List", "arn:y", facts{"s:Deep": "true"}}:        false,
		{"s:List", "arn:y", nil}:                            false, // what is not known does not fit
		{"s:List", "arn:x/deep/", facts{"s:Deep": "false"}}: false,
	} {
		if err := p.check(caller, question.action, question.resource, question.about); (err == nil) != allowed {
			t.Errorf("%+v: %v", *question, err)
		}
	}
}

// A policy that the stand-in would read otherwise than IAM is refused.
func TestPoliciesThatTheStandInDoesNotKnow(t *testing.T) {
	for policy, says := range map[string]string{
		`{"Version":"2008-10-17","Statement":[]}`:                                                                                 "2008-10-17",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":"a","Resource":"*"}]}`:                                "NotAction",
		`{"Version":"2012-10-17","Statement":[{"Effect":"allow","Action":"a","Resource":"*"}]}`:                                   "lacks Effect",
		`{"Version":"2012-10-17","Statement":[{"Sid":"x","Effect":"Allow","Action":[],"Resource":"*"}]}`:                          `"x" lacks`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"a","Resource":"*","Condition":{"Bool":{"k":"true"}}}]}`: "Bool",
		`no JSON`: "invalid",
	} {
		if err := new(Permissions).Attach("arn", policy); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", policy, err)
		}
	}
}
