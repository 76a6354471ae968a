// Calls a daemon's socket directly, in the words of KMS v2.

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// patience is kube-apiserver's own, which is also in Grpc-Timeout: what takes longer has failed.
	patience = 3 * time.Second
	// hang ends a call that would never end by itself.
	hang = time.Minute
)

// KMS is a caller of one daemon.
type KMS struct {
	client *http.Client
}

func dial(socket string) *KMS {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &KMS{client: &http.Client{
		Timeout: hang,
		Transport: &http.Transport{
			Protocols: &protocols,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var dialer net.Dialer
				return dialer.DialContext(ctx, "unix", socket)
			},
		},
	}}
}

// Status gives the key_id of a daemon that says it is well.
func (k *KMS) Status() (keyID string, err error) {
	fields, err := k.call("Status", nil)
	if err != nil {
		return "", err
	}
	if version, health := fields[1], fields[2]; string(version) != "v2" || string(health) != "ok" {
		return "", fmt.Errorf("version %q, healthz %q", version, health)
	}
	return string(fields[3]), nil
}

// Encrypt seals a payload.
func (k *KMS) Encrypt(payload []byte) (sealed []byte, keyID string, err error) {
	fields, err := k.call("Encrypt", message(payload, []byte("e2e")))
	if err != nil {
		return nil, "", err
	}
	return fields[1], string(fields[2]), nil
}

// Decrypt opens a sealed payload.
func (k *KMS) Decrypt(sealed []byte, keyID string) ([]byte, error) {
	fields, err := k.call("Decrypt", message(sealed, []byte("e2e"), []byte(keyID)))
	if err != nil {
		return nil, err
	}
	return fields[1], nil
}

// message encodes fields 1, 2, 3 ... of type bytes or string.
func message(fields ...[]byte) []byte {
	var out []byte
	for i, field := range fields {
		out = protowire.AppendTag(out, protowire.Number(i+1), protowire.BytesType)
		out = protowire.AppendBytes(out, field)
	}
	return out
}

// call makes one unary gRPC call and gives the fields of the answer, all of which are bytes or strings. An answer that
// comes too late is an error. Time during which the machine gave no processor to a process does not count.
func (k *KMS) call(method string, request []byte) (map[protowire.Number][]byte, error) {
	began := time.Now()
	fields, err := k.exchange(method, request)
	ended := time.Now()
	took, withheld := ended.Sub(began), machine.withheld(began, ended)
	if err == nil && took-withheld > patience {
		return nil, fmt.Errorf("%s took %v, of which the machine withheld %v", method, took, withheld)
	}
	return fields, err
}

func (k *KMS) exchange(method string, request []byte) (map[protowire.Number][]byte, error) {
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request)))
	address := "http://localhost/v2.KeyManagementService/" + method
	post, err := http.NewRequest(http.MethodPost, address, bytes.NewReader(append(frame, request...)))
	if err != nil {
		return nil, err
	}
	post.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Grpc-Timeout": {"3S"}}
	response, err := k.client.Do(post)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	status := response.Trailer
	if status.Get("Grpc-Status") == "" { // an answer without a message carries it in its only header block
		status = response.Header
	}
	if code := status.Get("Grpc-Status"); code != "0" {
		reason, _ := url.PathUnescape(status.Get("Grpc-Message"))
		return nil, fmt.Errorf("%s: code %q: %s", method, code, reason)
	}
	if len(body) < 5 || int(binary.BigEndian.Uint32(body[1:5])) != len(body)-5 {
		return nil, fmt.Errorf("%s: an answer of %d bytes is not one message", method, len(body))
	}
	fields := map[protowire.Number][]byte{}
	for rest := body[5:]; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 || kind != protowire.BytesType {
			return nil, fmt.Errorf("%s: the answer is not the expected message", method)
		}
		content, m := protowire.ConsumeBytes(rest[n:])
		if m < 0 {
			return nil, protowire.ParseError(m)
		}
		fields[number] = content
		rest = rest[n+m:]
	}
	return fields, nil
}
