package awsclient

import (
	"errors"
	"net"
	"regexp"
	"strings"
)

// Cause is what went wrong on the network, in words that hold no more than an
// address.
func Cause(err error) string {
	if dial, is := errors.AsType[*net.OpError](err); is {
		return strings.ReplaceAll(dial.Error(), "\n", " ")
	}
	if name, is := errors.AsType[*net.DNSError](err); is {
		return name.Error()
	}
	if strings.Contains(err.Error(), "x509:") || strings.Contains(err.Error(), "tls:") {
		return "its certificate is not trusted"
	}
	return "the connection ended"
}

var errorCode = regexp.MustCompile(`^[A-Za-z]{1,64}$`)

// Code is an error's code, or what stands for one that is none of AWS's.
func Code(code string) string {
	if errorCode.MatchString(code) {
		return code
	}
	return "an unknown code"
}

var deniedWho = regexp.MustCompile(`^User: (arn:aws[\w:/+=,.@-]{1,300}) is not authorized`)

// Denied is the ARN of whom the message of a refusal names; empty: it names nobody.
func Denied(message string) string {
	if found := deniedWho.FindStringSubmatch(message); found != nil {
		return found[1]
	}
	return ""
}
