// Package calls makes the calls of one kube-apiserver on a KMS plugin, over whatever version of gRPC the caller has.
package calls

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// Invoke makes one unary call. The messages are bytes: see Codec.
type Invoke func(ctx context.Context, method string, request, response *[]byte) error

// Codec hands messages on as the bytes that they are. Every version of gRPC takes it, and it says that it is protobuf.
type Codec struct{}

// Marshal gives the bytes of a request.
func (Codec) Marshal(message interface{}) ([]byte, error) {
	bytes, ok := message.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("a request is %T", message)
	}
	return *bytes, nil
}

// Unmarshal takes the bytes of a response.
func (Codec) Unmarshal(data []byte, message interface{}) error {
	to, ok := message.(*[]byte)
	if !ok {
		return fmt.Errorf("a response is %T", message)
	}
	*to = append([]byte(nil), data...)
	return nil
}

// Name becomes part of the content-type.
func (Codec) Name() string { return "proto" }

// kube-apiserver gives each call so long (`kms.timeout`).
const timeout = 3 * time.Second

// One call of an API's round, with the error of what came back.
type call func(ctx context.Context, invoke Invoke, session *session) error

// session is what one call leaves for the next.
type session struct {
	plain, sealed, keyID []byte
	number               int
}

// APIs are the calls of each API, in the order in which they are repeated.
var apis = map[string][]call{
	"v2": {statusV2, encryptV2, decryptV2},
	"v1": {versionV1, encryptV1, decryptV1},
}

// run makes so many calls of an API, each with a deadline of its own; the errors and the first of them.
func run(invoke Invoke, api string, count int) (failed int, first error) {
	session := &session{}
	for number := 0; number < count; number++ {
		session.number = number
		// No two deadlines are alike: each grpc-timeout is a new entry of the table of headers.
		ctx, cancel := context.WithTimeout(context.Background(), timeout-time.Duration(number)*time.Microsecond)
		if err := apis[api][number%3](ctx, invoke, session); err != nil {
			failed++
			if first == nil {
				first = fmt.Errorf("call %d: %w", number, err)
			}
		}
		cancel()
	}
	return failed, first
}

func statusV2(ctx context.Context, invoke Invoke, session *session) error {
	response, err := unary(ctx, invoke, "/v2.KeyManagementService/Status")
	if err != nil {
		return err
	}
	if version, healthz := response[1], response[2]; string(version) != "v2" || string(healthz) != "ok" {
		return fmt.Errorf("Status says version %q, healthz %q", version, healthz)
	}
	session.keyID = response[3]
	return nil
}

func encryptV2(ctx context.Context, invoke Invoke, session *session) error {
	session.plain = random()
	uid := fmt.Sprintf("uid-%d", session.number)
	response, err := unary(ctx, invoke, "/v2.KeyManagementService/Encrypt", field(1, session.plain), field(2, []byte(uid)))
	if err != nil {
		return err
	}
	if !bytes.Equal(response[2], session.keyID) {
		return fmt.Errorf("Encrypt says key_id %q, Status said %q", response[2], session.keyID)
	}
	session.sealed = response[1]
	return nil
}

func decryptV2(ctx context.Context, invoke Invoke, session *session) error {
	uid := fmt.Sprintf("uid-%d", session.number)
	response, err := unary(ctx, invoke, "/v2.KeyManagementService/Decrypt",
		field(1, session.sealed), field(2, []byte(uid)), field(3, session.keyID))
	if err != nil {
		return err
	}
	return session.same(response[1])
}

func versionV1(ctx context.Context, invoke Invoke, _ *session) error {
	response, err := unary(ctx, invoke, "/v1beta1.KeyManagementService/Version", field(1, []byte("v1beta1")))
	if err != nil {
		return err
	}
	if string(response[1]) != "v1beta1" {
		return fmt.Errorf("Version says %q", response[1])
	}
	return nil
}

func encryptV1(ctx context.Context, invoke Invoke, session *session) error {
	session.plain = random()
	response, err := unary(ctx, invoke, "/v1beta1.KeyManagementService/Encrypt",
		field(1, []byte("v1beta1")), field(2, session.plain))
	if err != nil {
		return err
	}
	session.sealed = response[1]
	return nil
}

func decryptV1(ctx context.Context, invoke Invoke, session *session) error {
	response, err := unary(ctx, invoke, "/v1beta1.KeyManagementService/Decrypt",
		field(1, []byte("v1beta1")), field(2, session.sealed))
	if err != nil {
		return err
	}
	return session.same(response[1])
}

// same says whether what was opened is what was sealed.
func (session *session) same(opened []byte) error {
	if len(session.plain) == 0 || !bytes.Equal(opened, session.plain) {
		return fmt.Errorf("Decrypt gave %d bytes that are not the %d sealed ones", len(opened), len(session.plain))
	}
	return nil
}

// random is a payload as large as an API server's.
func random() []byte {
	plain := make([]byte, 32)
	if _, err := rand.Read(plain); err != nil {
		panic(err)
	}
	return plain
}

// unary makes a call with the fields of a request; the fields of its response, by number.
func unary(ctx context.Context, invoke Invoke, method string, fields ...[]byte) (map[int][]byte, error) {
	request, response := bytes.Join(fields, nil), []byte(nil)
	if err := invoke(ctx, method, &request, &response); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return parse(response)
}
