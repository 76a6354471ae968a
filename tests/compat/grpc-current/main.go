// A client of a KMS plugin, as kube-apiserver has one with gRPC v1.85.0.
package main

import (
	// Which release this is, go.mod says.
	_ "google.golang.org/grpc"

	"dekhand.example/clients/calls"
)

func main() {
	calls.Main("grpc-current", calls.Encoded, "localhost")
}
