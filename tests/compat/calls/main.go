package calls

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// Era is what the `:authority` of a client looks like that is not told one.
type Era int

const (
	// Raw is the socket's path as it is.
	Raw Era = iota
	// Encoded is the socket's path with percent signs.
	Encoded
)

// authority is what a client of this era says to a socket.
func (era Era) authority(socket string) string {
	if era == Encoded {
		return strings.NewReplacer("/", "%2F").Replace(socket)
	}
	return socket
}

// Main makes the calls that the command line names, prints a line for each API, and ends the program.
//
//	client [-calls N] [-apis v2,v1] SOCKET...
//
// override is an authority that API servers of this era give their v2 clients; "" if they give none.
func Main(client string, era Era, override string) {
	count := flag.Int("calls", 3000, "calls on each socket and API")
	names := flag.String("apis", "v2,v1", "the APIs to call")
	flag.Parse()
	good := true
	for _, socket := range flag.Args() {
		for _, api := range strings.Split(*names, ",") {
			authorities := []string{""}
			if api == "v2" && override != "" {
				authorities = append(authorities, override)
			}
			for _, authority := range authorities {
				expected := authority
				if authority == "" {
					expected = era.authority(socket)
				}
				good = connection(client, socket, api, authority, expected, *count) && good
			}
		}
	}
	if !good {
		os.Exit(1)
	}
}

// connection makes all calls of one connection and prints what came of them.
func connection(client, socket, api, authority, expected string, count int) bool {
	capture, begin := &Capture{}, time.Now()
	failed, seen, err := count, "", error(nil)
	invoke, end, err := dial(socket, authority, capture)
	if err == nil {
		failed, err = run(invoke, api, count)
		end()
	}
	kind := "path"
	if strings.HasPrefix(socket, "@") {
		kind = "abstract"
	}
	if sent, captureErr := capture.authority(); captureErr == nil {
		seen = sent
	} else if err == nil {
		err = captureErr
	}
	if err == nil && seen != expected {
		err = fmt.Errorf("its authority is not %s", expected)
	}
	fmt.Printf("%-14s %-9s %-3s %6d %7d %6.1f s  %s\n", client, kind, api, count, failed, time.Since(begin).Seconds(), seen)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s, %s, %s: %v\n", client, kind, api, err)
	}
	return err == nil
}
