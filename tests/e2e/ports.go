// Reserves TCP ports for servers that start, end and start again.

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"testing"
)

// The ports of the suite are none of those that the kernel gives to outgoing connections: such a connection could take
// the port of a server that restarts.
const (
	firstPort = 20000
	lastPort  = 31999
)

// reservePort finds a free port of 127.0.0.1 and reserves it for this scenario, also against scenarios of other runs.
// The reservation is a name in the abstract namespace of Unix sockets: it ends with the scenario or its process, and is
// valid where the port is, in this network namespace.
func reservePort(t testing.TB) int {
	t.Helper()
	low, high := outgoingPorts()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if low <= port && port <= high {
			continue
		}
		reservation, err := net.Listen("unix", fmt.Sprintf("@dekhand-e2e-port-%d", port))
		if err != nil {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			_ = reservation.Close()
			continue
		}
		_ = listener.Close()
		t.Cleanup(func() { _ = reservation.Close() })
		return port
	}
	t.Fatalf("no port of 127.0.0.1 from %d to %d is free; outgoing connections use %d to %d (net.ipv4.ip_local_port_range)",
		firstPort, lastPort, low, high)
	return 0
}

// outgoingPorts are the first and the last port of outgoing connections, or Linux' default where it is not shown.
func outgoingPorts() (low, high int) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(text), &low, &high)
	}
	if err != nil {
		return 32768, 60999
	}
	return low, high
}
