package daemon

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// FreeAddress is a loopback address, as host:port, on which nobody listened a
// moment ago. It is for a server that cannot tell which port it got for port 0,
// and needs the same one again after a restart; so the port is below the range
// from which Linux takes ports for those who do not choose (32768 and up).
func FreeAddress() (string, error) {
	var last error
	for range 20 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12768))
		l, err := net.Listen("tcp", address)
		if err != nil {
			last = err
			continue
		}
		return address, l.Close()
	}
	return "", fmt.Errorf("find a free port: %w", last)
}
