package awssim

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// NewIAM returns the account's IAM endpoint, which is global and signs for
// us-east-1.
func NewIAM(account *Account) *Service {
	s := &Service{account: account, name: "iam", region: "us-east-1", words: query,
		version: "2010-05-08", namespace: "https://iam.amazonaws.com/doc/2010-05-08/"}
	s.actions = map[string]action{"GetRole": s.getRole, "GetUser": s.getUser, "GetInstanceProfile": s.getInstanceProfile}
	return s
}

type roleResult struct {
	XMLName xml.Name `xml:"GetRoleResult"`
	Role    struct {
		Path, Arn, RoleName, CreateDate string
		RoleID                          string `xml:"RoleId"`
	}
}

func (s *Service) getRole(_ issued, form url.Values) (any, error) {
	found, known := s.account.role(form.Get("RoleName"))
	if !known {
		return nil, noSuchEntity("role", form.Get("RoleName"))
	}
	var result roleResult
	result.Role.Path, result.Role.Arn, result.Role.RoleName = found.path, found.arn, found.name
	result.Role.RoleID, result.Role.CreateDate = found.id, found.created.Format(time.RFC3339)
	return result, nil
}

type userResult struct {
	XMLName xml.Name `xml:"GetUserResult"`
	User    struct {
		Path, Arn, UserName, CreateDate string
		UserID                          string `xml:"UserId"`
	}
}

// getUser without a name is about the caller.
func (s *Service) getUser(caller issued, form url.Values) (any, error) {
	name := cmp.Or(form.Get("UserName"), caller.entity.name)
	found, known := s.account.user(name)
	if !known {
		return nil, noSuchEntity("user", name)
	}
	var result userResult
	result.User.Path, result.User.Arn, result.User.UserName = found.path, found.arn, found.name
	result.User.UserID, result.User.CreateDate = found.id, found.created.Format(time.RFC3339)
	return result, nil
}

type profileResult struct {
	XMLName xml.Name `xml:"GetInstanceProfileResult"`
	Profile struct {
		InstanceProfileName, Arn string
		RoleName                 string `xml:"Roles>member>RoleName"`
		RoleArn                  string `xml:"Roles>member>Arn"`
	} `xml:"InstanceProfile"`
}

// getInstanceProfile: each role has a profile of its own name, as the console
// makes it.
func (s *Service) getInstanceProfile(_ issued, form url.Values) (any, error) {
	found, known := s.account.role(form.Get("InstanceProfileName"))
	if !known {
		return nil, &refusal{http.StatusNotFound, "NoSuchEntity",
			fmt.Sprintf("Instance Profile %s cannot be found.", form.Get("InstanceProfileName"))}
	}
	var result profileResult
	result.Profile.InstanceProfileName, result.Profile.Arn = found.name, s.account.profileARN(found.name)
	result.Profile.RoleName, result.Profile.RoleArn = found.name, found.arn
	return result, nil
}

func noSuchEntity(kind, name string) error {
	return &refusal{http.StatusNotFound, "NoSuchEntity", fmt.Sprintf("The %s with name %s cannot be found.", kind, name)}
}
