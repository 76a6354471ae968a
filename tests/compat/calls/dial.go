package calls

import (
	"context"
	"net"

	"google.golang.org/grpc"
)

// dial opens a connection to a socket as kube-apiserver does, with the gRPC of the client that is built: this module asks
// for the oldest only. authority is "" where it is left to gRPC. The returned function ends the connection.
func dial(socket, authority string, capture *Capture) (invoke Invoke, end func(), err error) {
	options := []grpc.DialOption{
		grpc.WithInsecure(), // the oldest knows nothing else
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.ForceCodec(Codec{})),
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
	invoke = func(ctx context.Context, method string, request, response *[]byte) error {
		return connection.Invoke(ctx, method, request, response)
	}
	return invoke, func() { connection.Close() }, nil
}
