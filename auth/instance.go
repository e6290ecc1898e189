package auth

import "github.com/quaymaster/quaymaster/broker/secret"

// Instance is what the machine's cloud was told to tell it when it was made,
// by whoever made it or may change it since. It proves nothing.
type Instance struct {
	Cloud string // as the configuration's identity says it: "aws"
	// ID names the instance for people: "i-0123456789abcdef0", a VM's name.
	ID string
	// Attribute is what the cloud calls one of Attributes: "tag".
	Attribute string
	// Attributes are those whose names begin as was asked, by name.
	Attributes map[string]string
	// Untold is why there may be attributes that are not to be seen, and what
	// to do about that. Empty: those that there are, are told.
	Untold string
	// UserData is what the instance was started with, decoded as cloud-init
	// finds it. It should hold no secret, and often does.
	UserData secret.Value
}

// The bounds of what is read of an instance. The clouds' own are below them:
// 50 tags of 256 characters, attributes of 256 KiB, user-data of 64 KiB.
const (
	MaxAttributes = 64
	MaxUserData   = 512 << 10
)
