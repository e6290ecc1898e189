package engine

import (
	"errors"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

const complete = `BEGIN 1
T0 1000
AT 2000
UID 65532
GID 7
DATA ..1
FILE tls/a%20b%25 7 0440 65532 7 4db147a54908e973
FILE empty 0 0644 0 0 cbf29ce484222325
UNREADABLE closed 13
ENV A%3DB 3 602a4518277c087a
ENV X 1 af63ac4c86019afc
ENV X 9 0000000000000000
WRITABLE 1
END 1
`

func TestParseReports(t *testing.T) {
	want := Report{
		Number: 1, T0: 1000, At: 2000, UID: 65532, GID: 7, Generation: "..1", Writable: true,
		Files: map[string]File{
			"tls/a b%": {Length: 7, Mode: 0o440, UID: 65532, GID: 7, Fingerprint: Fingerprint([]byte("hunter2"))},
			"empty":    {Length: 0, Mode: 0o644, Fingerprint: Fingerprint(nil)},
		},
		Unreadable: map[string]syscall.Errno{"closed": syscall.EACCES},
		Env: map[string]Variable{
			"A=B": {Length: 3, Fingerprint: Fingerprint([]byte("2\n3"))},
			"X":   {Length: 1, Fingerprint: Fingerprint([]byte("1"))},
		},
	}
	got, err := ParseReports([]byte(complete))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, []Report{want}) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseReportsOfNothing(t *testing.T) {
	if got, err := ParseReports(nil); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v, want no report and no error", got, err)
	}
}

// A report that is cut off anywhere is never taken for a whole one.
func TestParseReportsPartial(t *testing.T) {
	for cut := 1; cut < len(complete); cut++ {
		got, err := ParseReports([]byte(complete + complete[:cut]))
		if !errors.Is(err, ErrPartial) || len(got) != 1 {
			t.Fatalf("cut at %q: %d reports and %v, want 1 and ErrPartial", complete[:cut], len(got), err)
		}
	}
}

func TestParseReportsRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"UID 0\n":                         "outside of a report",
		"BEGIN 1\nBEGIN 2\n":              "line 2: report 1 has no end",
		"BEGIN 1\nEND 2\n":                "report 1 ends as 2",
		"BEGIN 1\nPASSWORD hunter2\n":     "line 2: unknown fact",
		"BEGIN one\n":                     "invalid syntax",
		"BEGIN 1\nFILE a 1 0644 0 0\n":    "too few words",
		"BEGIN 1\nUID 0 0\n":              "too many words",
		"BEGIN 1\nENV %zz 1 0\n":          "invalid URL escape",
		"BEGIN 1\nFILE a 1 0999 0 0 00\n": "invalid syntax",
	} {
		_, err := ParseReports([]byte(text))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want an error that says %q", text, err, says)
		}
	}
}

// The test vectors of FNV's authors.
func TestFingerprint(t *testing.T) {
	for value, want := range map[string]string{"": "cbf29ce484222325", "a": "af63dc4c8601ec8c", "foobar": "85944171f73967e8"} {
		if got := Fingerprint([]byte(value)); got != want {
			t.Errorf("Fingerprint(%q) = %s, want %s", value, got, want)
		}
	}
}
