// A client of a KMS plugin, as kube-apiserver has one with gRPC v1.57.2.
package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"dekhand.example/clients/calls"
)

func main() {
	calls.Main("grpc-1.57", calls.Encoded, "", dial)
}

func dial(socket, authority string, capture *calls.Capture) (calls.Invoke, func(), error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.ForceCodec(calls.Codec{})),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			return capture.Dial(socket)
		}),
	}
	if authority != "" {
		options = append(options, grpc.WithAuthority(authority))
	}
	connection, err := grpc.Dial(socket, options...)
	if err != nil {
		return nil, nil, err
	}
	invoke := func(ctx context.Context, method string, request, response *[]byte) error {
		return connection.Invoke(ctx, method, request, response)
	}
	return invoke, func() { connection.Close() }, nil
}
