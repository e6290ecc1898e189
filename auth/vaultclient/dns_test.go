package vaultclient_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// dns is a server of DNS on loopback. Every name but those of its records is
// this machine's.
type dns struct {
	conn net.PacketConn

	mu      sync.Mutex
	records map[string][]dnsmessage.SRVResource // by name, with its dot at the end
	asked   map[string]int                      // SRV questions, by name
}

// newDNS serves until the test ends.
func newDNS(t *testing.T) *dns {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &dns{conn: conn, records: map[string][]dnsmessage.SRVResource{}, asked: map[string]int{}}
	var serving sync.WaitGroup
	serving.Go(func() { d.serve(t) })
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	return d
}

// resolver asks this server.
func (d *dns) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", d.conn.LocalAddr().String())
	}}
}

// add adds a record.
func (d *dns) add(name, target string, port, priority int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records[name] = append(d.records[name], dnsmessage.SRVResource{
		Priority: uint16(priority), Weight: 1, Port: uint16(port), Target: dnsmessage.MustNewName(target)})
}

// questions is how often the SRV records of a name were asked for.
func (d *dns) questions(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[name]
}

func (d *dns) serve(t *testing.T) {
	packet := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFrom(packet)
		if err != nil {
			return // closed
		}
		var message dnsmessage.Message
		if err := message.Unpack(packet[:n]); err != nil || len(message.Questions) != 1 {
			t.Errorf("a question that is none: %v", err)
			continue
		}
		d.answer(&message)
		packed, err := message.Pack()
		if err == nil {
			_, err = d.conn.WriteTo(packed, from)
		}
		if err != nil {
			t.Errorf("answering: %v", err)
		}
	}
}

func (d *dns) answer(message *dnsmessage.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	question := message.Questions[0]
	header := dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class}
	message.Response, message.Authoritative, message.Additionals = true, true, nil
	switch question.Type {
	case dnsmessage.TypeA:
		message.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
	case dnsmessage.TypeSRV:
		d.asked[question.Name.String()]++
		for _, record := range d.records[question.Name.String()] {
			message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &record})
		}
		if message.Answers == nil {
			message.RCode = dnsmessage.RCodeNameError
		}
	}
}
