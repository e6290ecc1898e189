package awssim

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// versions are those of the service that a listing of "/" shows and a path may
// begin with. Here they all mean the latest.
var versions = []string{"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04",
	"2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30", "2016-09-02",
	"2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15", "2022-09-24", "latest"}

// leaves are the documents that the service has, by path below a version. A
// document is made when it is asked for, because asking for keys may issue them.
func (m *IMDS) leaves() map[string]func() string {
	i := m.instance
	leaves := map[string]func() string{"dynamic/instance-identity/document": m.document}
	for name, content := range i.facts() {
		leaves["meta-data/"+name] = func() string { return content }
	}
	for key, value := range i.Tags {
		leaves["meta-data/tags/instance/"+key] = func() string { return value }
	}
	if i.UserData != "" {
		leaves[userData] = func() string { return i.UserData }
	}
	if i.Role != "" {
		leaves["meta-data/iam/security-credentials/"+i.Role] = m.roleDocument
	}
	if n := i.Notary; n != nil {
		leaves["dynamic/instance-identity/rsa2048"] = func() string { return n.pkcs7(m.document()) }
		leaves["dynamic/instance-identity/signature"] = func() string { return n.signature(m.document()) }
	}
	return leaves
}

const userData = "user-data"

// facts are what the metadata says of an instance that has one network
// interface, no public address and no key pair ("Instance metadata categories"
// in the EC2 User Guide).
func (i Instance) facts() map[string]string {
	facts := map[string]string{
		"ami-id": i.ImageID, "ami-launch-index": "0", "ami-manifest-path": "(unknown)", "hostname": i.hostname(),
		"instance-action": "none", "instance-id": i.ID, "instance-life-cycle": "on-demand", "instance-type": instanceType,
		"local-hostname": i.hostname(), "local-ipv4": privateIP, "mac": i.MAC,
		"placement/region": i.Region, "placement/availability-zone": i.AvailabilityZone,
		"profile": "default-hvm", "reservation-id": "r-0123456789abcdef0", "security-groups": "default",
		"services/domain": "amazonaws.com", "services/partition": "aws",
	}
	for name, fact := range map[string]string{
		"device-number": "0", "interface-id": "eni-0123456789abcdef0", "local-hostname": i.hostname(), "local-ipv4s": privateIP, "mac": i.MAC,
		"security-groups": "default", "subnet-id": i.Subnet, "subnet-ipv4-cidr-block": "10.0.0.0/24", "vpc-id": i.VPC, "vpc-ipv4-cidr-block": "10.0.0.0/16",
	} {
		facts["network/interfaces/macs/"+i.MAC+"/"+name] = fact
	}
	return facts
}

// lookUp finds a document, or lists what lies directly below a directory: one
// name a line, with a slash when there is more below it.
func (m *IMDS) lookUp(path string) (content string, found bool) {
	if path == "" {
		return strings.Join(versions, "\n"), true
	}
	version, path, _ := strings.Cut(path, "/")
	if !slices.Contains(versions, version) {
		return "", false
	}
	leaves := m.leaves()
	if leaf, is := leaves[path]; is {
		return leaf(), true
	}
	directory := strings.TrimSuffix(path, "/") + "/"
	if directory == "meta-data/iam/security-credentials/" && m.instance.Role != "" {
		return m.roleName(), true
	}
	names := map[string]bool{}
	for leaf := range leaves {
		if below, inside := strings.CutPrefix(leaf, strings.TrimPrefix(directory, "/")); inside {
			name, _, deeper := strings.Cut(below, "/")
			if deeper && directory != "/" { // what lies below a version is listed without slashes
				name += "/"
			}
			names[name] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), "\n"), len(names) > 0
}

// document is the instance identity document.
func (m *IMDS) document() string {
	return indented(struct {
		AccountID        string `json:"accountId"`
		Architecture     string `json:"architecture"`
		AvailabilityZone string `json:"availabilityZone"`
		ImageID          string `json:"imageId"`
		InstanceID       string `json:"instanceId"`
		InstanceType     string `json:"instanceType"`
		PendingTime      string `json:"pendingTime"`
		PrivateIP        string `json:"privateIp"`
		Region           string `json:"region"`
		Version          string `json:"version"`
	}{
		m.account.id, "x86_64", m.instance.AvailabilityZone, m.instance.ImageID, m.instance.ID, instanceType,
		m.launched.Format(time.RFC3339), privateIP, m.instance.Region, "2017-09-30",
	})
}

// indented is the JSON text of a struct of strings, which always has one.
func indented(document any) string {
	text, _ := json.MarshalIndent(document, "", "  ")
	return string(text)
}
