package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

func variable(name, value string) wire.Variable {
	return wire.Variable{Name: name, Value: func() []byte { return []byte(value) }}
}

// plain is an answer in a shape that can be compared.
func plain(a wire.Answer) []string {
	fields := []string{string(a.Verdict), a.Message, a.Source, a.Target, fmt.Sprint(a.ExecVariables)}
	for _, v := range a.Variables {
		fields = append(fields, v.Name+"="+string(v.Value()))
	}
	return fields
}

func TestRequestRoundTrip(t *testing.T) {
	for _, want := range []wire.Request{
		{ID: "4f1c"},
		{ID: "4f1c", UID: 65532, GID: 1<<32 - 1, MemoryOnly: true, EngineDir: "/var/lib/docker/containers/4f1c",
			UIDMap: []wire.IDMap{{0, 100000, 65536}, {65536, 1, 1}}, GIDMap: []wire.IDMap{{0, 7, 8}},
			Mounts: []string{"/proc", "/a path\nwith \"quotes\"", "\xff"}},
		{ID: "4f1c", Profile: "shop-db", PID: 4711, Root: "/var/lib/docker/overlay2/x/merged"},
	} {
		text, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.ReadRequest(iotest.OneByteReader(bytes.NewReader(text)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s read as %+v, %v", text, got, err)
		}
	}
}

func TestAnswerRoundTrip(t *testing.T) {
	var every strings.Builder
	for b := range 256 {
		every.WriteByte(byte(b))
	}
	for _, want := range []wire.Answer{
		{Verdict: wire.Pass},
		{Verdict: wire.Refuse, Message: "container web: ref \"vault:kv/x\"\nis denied"},
		{Verdict: wire.Deliver},
		{Verdict: wire.Deliver, Source: "/run/q/trees/4f1c", Target: "/run/secrets",
			Variables: []wire.Variable{variable("A", ""), variable("B", every.String()), variable("C", "ä😀\n\n")}},
		{Verdict: wire.Deliver, Variables: []wire.Variable{variable("A", "1")}, ExecVariables: true},
	} {
		text, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.ReadAnswer(bytes.NewReader(text))
		if err != nil || !reflect.DeepEqual(plain(got), plain(want)) {
			t.Errorf("%q read as %q, %v", text, plain(got), err)
		}
	}
}

func TestAnswerCannotBePrinted(t *testing.T) {
	const value = "hunter2"
	sent := wire.Answer{Verdict: wire.Deliver, Variables: []wire.Variable{variable("A", value)}}
	text, err := sent.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := wire.ReadAnswer(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []wire.Answer{sent, read} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if printed := fmt.Sprintf(verb, a); strings.Contains(printed, value) || strings.Contains(printed, fmt.Sprintf("%x", value)) {
				t.Errorf("%s prints %s", verb, printed)
			}
		}
	}
}

func TestReadRefuses(t *testing.T) {
	const head = wire.Protocol + "\n"
	request := func(s string) error { _, err := wire.ReadRequest(strings.NewReader(s)); return err }
	answer := func(s string) error { _, err := wire.ReadAnswer(strings.NewReader(s)); return err }
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"other protocol":     {request("HTTP/1.1 400 Bad Request\r\n\r\n\n\n"), "begins otherwise"},
		"other version":      {answer("quaymaster-gate 2\nverdict \"pass\"\n\n"), "same release"},
		"no container":       {request(head + "user 0 0\n\n"), "names no container"},
		"no user":            {request(head + "container \"a\"\n\n"), "no user"},
		"empty":              {request(head + "\n"), "names no container"},
		"unknown key":        {request(head + "container \"a\"\nuser 0 0\nshoe 1\n\n"), "line 4 has an unknown key"},
		"container twice":    {request(head + "container \"a\"\ncontainer \"a\"\n\n"), "line 3 has the wrong values"},
		"unquoted":           {request(head + "container a\n\n"), "line 2 has the wrong values"},
		"raw quotes":         {request(head + "container `a`\n\n"), "line 2 has the wrong values"},
		"open quote":         {request(head + "container \"a\n\n"), "line 2 has the wrong values"},
		"two values":         {request(head + "container \"a\" \"b\"\n\n"), "line 2 has the wrong values"},
		"no space":           {request(head + "container \"a\"b\n\n"), "line 2 has the wrong values"},
		"trailing space":     {request(head + "container \"a\" \n\n"), "line 2 has the wrong values"},
		"no value":           {request(head + "container\n\n"), "line 2 has the wrong values"},
		"one number":         {request(head + "user 0\n\n"), "line 2 has the wrong values"},
		"number too large":   {request(head + "user 4294967296 0\n\n"), "line 2 has the wrong values"},
		"negative number":    {request(head + "uid-map 0 -1 1\n\n"), "line 2 has the wrong values"},
		"value of a flag":    {request(head + "memory-only 1\n\n"), "line 2 has the wrong values"},
		"behind the end":     {request(head + "container \"a\"\nuser 0 0\n\nmore\n\n"), "behind its end"},
		"profile alone":      {request(head + "container \"a\"\nuser 0 0\nprofile \"p\"\n\n"), "profile, pid and root go together"},
		"pid alone":          {request(head + "container \"a\"\nuser 0 0\npid 1\n\n"), "profile, pid and root go together"},
		"exec without env":   {answer(head + "verdict \"deliver\"\nexec-variables\n\n"), "needs an env"},
		"no verdict":         {answer(head + "\n"), "none of pass"},
		"unknown verdict":    {answer(head + "verdict \"perhaps\"\n\n"), "none of pass"},
		"refuse without why": {answer(head + "verdict \"refuse\"\n\n"), "a refusal has a message"},
		"pass with message":  {answer(head + "verdict \"pass\"\nmessage \"x\"\n\n"), "a refusal has a message"},
		"pass with env":      {answer(head + "verdict \"pass\"\nenv \"A\" \"hunter2\"\n\n"), "only a delivery"},
		"source alone":       {answer(head + "verdict \"deliver\"\nsource \"/x\"\n\n"), "go together"},
		"env of one":         {answer(head + "verdict \"deliver\"\nenv \"hunter2\"\n\n"), "line 3 has the wrong values"},
	} {
		if !errors.Is(c.err, wire.ErrProtocol) || !strings.Contains(c.err.Error(), c.want) || strings.Contains(c.err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", name, c.err, c.want)
		}
	}
	broken := errors.New("broken")
	for text, want := range map[string]error{"": io.EOF, head: io.ErrUnexpectedEOF, head + "verdict": io.ErrUnexpectedEOF} {
		if err := answer(text); !errors.Is(err, want) {
			t.Errorf("cut off after %q: %v, want %v", text, err, want)
		}
	}
	if _, err := wire.ReadAnswer(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("broken connection: %v", err)
	}
}

// endless never sends an empty line.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.read += len(p)
	return len(p), nil
}

func TestLimits(t *testing.T) {
	source := &endless{}
	if _, err := wire.ReadRequest(source); !errors.Is(err, wire.ErrTooLarge) || source.read > wire.MaxRequest+1 {
		t.Errorf("endless request: %v after %d bytes", err, source.read)
	}
	if _, err := (wire.Request{ID: strings.Repeat("a", wire.MaxRequest)}).Encode(); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("request that is too large: %v", err)
	}
	for _, large := range []string{strings.Repeat("\xff", wire.MaxAnswer/4), strings.Repeat("x", wire.MaxAnswer)} {
		answer := wire.Answer{Verdict: wire.Deliver, Variables: []wire.Variable{variable("A", large)}}
		if _, err := answer.Encode(); !errors.Is(err, wire.ErrTooLarge) {
			t.Errorf("answer that is too large: %v", err)
		}
	}
	fits := variable("A", strings.Repeat("x", 1<<20))
	answer := wire.Answer{Verdict: wire.Deliver}
	for range 20 {
		answer.Variables = append(answer.Variables, fits)
	}
	text, err := answer.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if read, err := wire.ReadAnswer(bytes.NewReader(text)); err != nil || len(read.Variables) != 20 {
		t.Errorf("20 variables of 1 MiB: %d, %v", len(read.Variables), err)
	}
}

func FuzzRequest(f *testing.F) {
	seed, _ := wire.Request{ID: "4f1c", UID: 1, UIDMap: []wire.IDMap{{1, 2, 3}}, Mounts: []string{"/a"}, EngineDir: "/e", MemoryOnly: true}.Encode()
	f.Add(seed)
	f.Add([]byte(wire.Protocol + "\ncontainer \"\\xff\"\nuser 00 1\n\n"))
	f.Add([]byte(wire.Protocol + "\ncontainer \"a\"\nuser 0 1\nprofile \"p\"\npid 7\nroot \"/r\"\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		request, err := wire.ReadRequest(bytes.NewReader(text))
		if err != nil {
			return
		}
		encoded, err := request.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := wire.ReadRequest(bytes.NewReader(encoded))
		if err != nil || !reflect.DeepEqual(again, request) {
			t.Fatalf("%+v became %+v, %v", request, again, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	seed, _ := wire.Answer{Verdict: wire.Deliver, Source: "/s", Target: "/t", Variables: []wire.Variable{variable("A", "\xff\"\n")}}.Encode()
	f.Add(seed, "value")
	f.Fuzz(func(t *testing.T, text []byte, value string) {
		if answer, err := wire.ReadAnswer(bytes.NewReader(text)); err == nil {
			compareAgain(t, answer)
		}
		compareAgain(t, wire.Answer{Verdict: wire.Deliver, Variables: []wire.Variable{variable(value, value)}})
	})
}

func compareAgain(t *testing.T, answer wire.Answer) {
	encoded, err := answer.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := wire.ReadAnswer(bytes.NewReader(encoded))
	if err != nil || !reflect.DeepEqual(plain(again), plain(answer)) {
		t.Fatalf("%q became %q, %v", plain(answer), plain(again), err)
	}
}
