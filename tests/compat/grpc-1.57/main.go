// A client of a KMS plugin, as kube-apiserver has one with gRPC v1.57.2.
package main

import (
	// Which release this is, go.mod says.
	_ "google.golang.org/grpc"

	"dekhand.example/clients/calls"
)

func main() {
	calls.Main("grpc-1.57", calls.Encoded, "")
}
