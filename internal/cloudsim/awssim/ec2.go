package awssim

import (
	"encoding/xml"
	"net/url"
	"regexp"
	"time"
)

// NewEC2 returns the account's EC2 API in one region, which knows the
// instances whose metadata services were made there.
func NewEC2(account *Account, region string) *Service {
	s := &Service{account: account, name: "ec2", region: region,
		version: "2016-11-15", namespace: "http://ec2.amazonaws.com/doc/2016-11-15/"}
	s.actions = map[string]action{"DescribeInstances": s.describeInstances}
	s.words = words{
		result: func(name xml.Name, result any, requestID string) any {
			return ec2Response{XMLName: name, RequestID: requestID, Result: result}
		},
		refusal: func(_, requestID string, refused *refusal) any {
			return ec2Refusal{Code: refused.code, Message: refused.message, RequestID: requestID}
		},
	}
	return s
}

// ec2Response and ec2Refusal are how EC2 answers ("Making API requests" in its
// API reference).
type ec2Response struct {
	XMLName   xml.Name
	RequestID string `xml:"requestId"`
	Result    any
}

type ec2Refusal struct {
	XMLName   xml.Name `xml:"Response"`
	Code      string   `xml:"Errors>Error>Code"`
	Message   string   `xml:"Errors>Error>Message"`
	RequestID string
}

type reservations struct {
	XMLName  xml.Name    `xml:"reservationSet"`
	Instance ec2Instance `xml:"item>instancesSet>item"`
}

// ec2Instance holds what Vault reads of an instance; it panics when
// privateDnsName is not there.
type ec2Instance struct {
	InstanceID     string      `xml:"instanceId"`
	ImageID        string      `xml:"imageId"`
	State          string      `xml:"instanceState>name"`
	PrivateDNSName string      `xml:"privateDnsName"`
	LaunchTime     string      `xml:"launchTime"`
	SubnetID       string      `xml:"subnetId"`
	VPCID          string      `xml:"vpcId"`
	Profile        *ec2Profile `xml:"iamInstanceProfile"` // nil: none
}

type ec2Profile struct {
	ARN string `xml:"arn"`
}

var idOfInstance = regexp.MustCompile(`^i-[0-9a-f]{8}([0-9a-f]{9})?$`)

func (s *Service) describeInstances(_ issued, form url.Values) (any, error) {
	id := form.Get("InstanceId.1")
	if !idOfInstance.MatchString(id) {
		return nil, badRequest("InvalidInstanceID.Malformed", "Invalid id: %q", id)
	}
	host, found := s.account.host(id)
	if !found {
		return nil, badRequest("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	}
	instance, state, launched := host.described()
	if instance.Region != s.region {
		return nil, badRequest("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	}
	described := ec2Instance{
		InstanceID: instance.ID, ImageID: instance.ImageID, State: state, SubnetID: instance.Subnet, VPCID: instance.VPC,
		PrivateDNSName: instance.hostname(),
		LaunchTime:     launched.Format(time.RFC3339),
	}
	if instance.Role != "" {
		described.Profile = &ec2Profile{s.account.profileARN(instance.Role)}
	}
	return reservations{Instance: described}, nil
}
