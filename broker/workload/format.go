package workload

// Format is the form that a secret's content takes.
type Format struct {
	Kind     FormatKind
	Template string // of FormatTemplate: the name of a template on the host
	// Base64 says that values are kept in base64 and wanted decoded.
	Base64  bool
	Newline Newline
}

// FormatKind is how fields become content.
type FormatKind string

// The formats. FormatAuto is that of a want that says nothing: a certificate
// with its key becomes FormatPEM when no field is chosen, all else FormatRaw.
const (
	FormatAuto     FormatKind = ""
	FormatRaw      FormatKind = "raw"      // the chosen field, byte for byte
	FormatJSON     FormatKind = "json"     // all fields as one object
	FormatDotenv   FormatKind = "dotenv"   // all fields as NAME=value lines
	FormatPEM      FormatKind = "pem"      // a directory with tls.crt, tls.key, ca.crt
	FormatPKCS12   FormatKind = "pkcs12"   // a directory with keystore.p12, truststore.p12
	FormatJKS      FormatKind = "jks"      // a directory with keystore.jks, truststore.jks
	FormatTemplate FormatKind = "template" // whatever the template makes of them
)

// Newline is what is done about a line break at the end of content.
type Newline string

// The ways.
const (
	NewlineKeep  Newline = ""      // as it comes
	NewlineAdd   Newline = "add"   // content ends in exactly one
	NewlineStrip Newline = "strip" // content ends in none
)

// Strategy is what a container wants done after its secrets have changed.
type Strategy struct {
	Kind   StrategyKind
	Signal string // of StrategySignal: its name without SIG, as in HUP
}

// StrategyKind is one way to make a container take up its new secrets.
type StrategyKind string

// The strategies.
const (
	StrategyNone    StrategyKind = "none"    // its files have changed, and that is enough
	StrategySignal  StrategyKind = "signal"  // its first process is sent a signal
	StrategyRestart StrategyKind = "restart" // the container is restarted, and passes its gate again
)
