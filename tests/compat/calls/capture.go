package calls

import (
	"bytes"
	"errors"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Enough for the first header block.
const captured = 4 << 10

// Capture keeps the beginning of what a client writes on its connection.
type Capture struct {
	mutex sync.Mutex
	bytes []byte
}

// capturing is a connection with a capture.
type capturing struct {
	net.Conn
	capture *Capture
}

func (connection capturing) Write(data []byte) (int, error) {
	connection.capture.add(data)
	return connection.Conn.Write(data)
}

func (capture *Capture) add(data []byte) {
	capture.mutex.Lock()
	defer capture.mutex.Unlock()
	if room := captured - len(capture.bytes); room > 0 {
		if len(data) > room {
			data = data[:room]
		}
		capture.bytes = append(capture.bytes, data...)
	}
}

// Dial connects to a Unix socket, as kube-apiserver's dialer does: "@name" is an abstract one.
func (capture *Capture) Dial(socket string) (net.Conn, error) {
	connection, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return capturing{connection, capture}, nil
}

// authority is what the first call said in its `:authority`.
func (capture *Capture) authority() (string, error) {
	capture.mutex.Lock()
	defer capture.mutex.Unlock()
	frames, found := bytes.TrimPrefix(capture.bytes, []byte(http2.ClientPreface)), errors.New("no header block was written")
	framer := http2.NewFramer(nil, bytes.NewReader(frames))
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return "", found
		}
		headers, ok := frame.(*http2.MetaHeadersFrame)
		if !ok {
			continue
		}
		for _, header := range headers.Fields {
			if header.Name == ":authority" {
				return header.Value, nil
			}
		}
		return "", errors.New("the first call has no :authority")
	}
}
