package awssim

import (
	"encoding/xml"
	"net/url"
)

// NewSTS returns the account's STS endpoint in one region: us-east-1 for the
// global one, https://sts.amazonaws.com. It tells who callers from other
// accounts are, too, as the real one does.
func NewSTS(account *Account, region string, others ...*Account) *Service {
	s := &Service{account: account, others: others, name: "sts", region: region, words: query,
		version: "2011-06-15", namespace: "https://sts.amazonaws.com/doc/2011-06-15/"}
	s.actions = map[string]action{"GetCallerIdentity": s.getCallerIdentity}
	return s
}

type callerIdentity struct {
	XMLName xml.Name `xml:"GetCallerIdentityResult"`
	Arn     string   // arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION, or a user's
	UserID  string   `xml:"UserId"` // AROA…:SESSION, or AIDA…
	Account string
}

func (s *Service) getCallerIdentity(caller issued, _ url.Values) (any, error) {
	return callerIdentity{Arn: caller.arn, UserID: caller.userID, Account: caller.account}, nil
}
