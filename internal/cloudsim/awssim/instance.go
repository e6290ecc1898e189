package awssim

import (
	"cmp"
	"strings"
	"time"
)

// Instance is a machine of EC2.
type Instance struct {
	ID, Region, AvailabilityZone string // i-0abc…, eu-west-1, eu-west-1a
	Role                         string // of the account; empty: no instance profile
	// ImageID, VPC and Subnet are where it came from and lies; empty: those of
	// ImageID, VPC and Subnet below.
	ImageID, VPC, Subnet string
	// Notary signs its identity document; nil: nobody does.
	Notary *Notary
	// MAC is of its network interface; empty: MAC below.
	MAC string
	// Tags are those that its metadata may tell; nil: instance tags are not
	// allowed in the metadata, as is the default.
	Tags map[string]string
	// UserData is what it was started with; empty: none.
	UserData string
}

// What an instance is made of that does not say otherwise.
const (
	ImageID = "ami-0123456789abcdef0"
	VPC     = "vpc-0123456789abcdef0"
	Subnet  = "subnet-0123456789abcdef0"
	MAC     = "0a:ff:c0:00:00:10"
)

const (
	privateIP    = "10.0.0.10"
	instanceType = "t3.small"
)

// hostname is the one that EC2 gives by the private address.
func (i Instance) hostname() string {
	return "ip-" + strings.ReplaceAll(privateIP, ".", "-") + "." + i.Region + ".compute.internal"
}

func (i Instance) complete() Instance {
	i.ImageID, i.VPC, i.Subnet = cmp.Or(i.ImageID, ImageID), cmp.Or(i.VPC, VPC), cmp.Or(i.Subnet, Subnet)
	i.MAC = cmp.Or(i.MAC, MAC)
	return i
}

// SetTags changes the tags that the metadata tells. Nil: they are no longer
// allowed there.
func (m *IMDS) SetTags(tags map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.instance.Tags = tags
}

// SetUserData changes the user data, which EC2 lets one do while the instance
// is stopped. Empty: none.
func (m *IMDS) SetUserData(data string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.instance.UserData = data
}

// SetState changes what EC2 says of the instance: "running", "stopped",
// "terminated". Its metadata service answers all the same: who can still ask
// it has seen the change before EC2's own API shows it everywhere.
func (m *IMDS) SetState(state string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = state
}

// Relaunch is a stop and a start, by which an instance may move to another
// host: its identity document gets another pendingTime. A mere reboot leaves
// the document as it is.
func (m *IMDS) Relaunch() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.launched = m.account.env.Now()
}

// described is the instance as EC2's API shows it.
func (m *IMDS) described() (instance Instance, state string, launched time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.instance, m.state, m.launched
}
