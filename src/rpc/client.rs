//! A gRPC client connection, opened as kube-apiserver opens it.

use std::task::Context;
use std::task::Poll;

use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::client::conn::http2::SendRequest;
use hyper::http;
use hyper::http::Uri;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tonic::body::Body;

use crate::proto::v1beta1::key_management_service_client::KeyManagementServiceClient as V1beta1Client;
use crate::proto::v2::key_management_service_client::KeyManagementServiceClient;

/// One HTTP/2 connection for generated clients. Clones share it, and it closes with the last clone.
#[derive(Clone, Debug)]
pub struct Channel(SendRequest<Body>);

impl Channel {
    /// Starts HTTP/2 on a connected stream.
    ///
    /// # Errors
    /// The HTTP/2 handshake fails.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<Self> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await?;
        // Calls on a broken connection fail by themselves, so the connection's own error is ignored.
        tokio::spawn(async move { connection.await.ok() });
        Ok(Self(sender))
    }

    /// A client of KMS v1, with the authority of [`Channel::kms_v2`]; kube-apiserver itself sends the socket's path.
    pub fn kms_v1beta1(self) -> V1beta1Client<Self> {
        V1beta1Client::with_origin(self, Uri::from_static("http://localhost"))
    }

    /// A client of KMS v2, with the authority `localhost` that kube-apiserver sends since 1.32.
    pub fn kms_v2(self) -> KeyManagementServiceClient<Self> {
        KeyManagementServiceClient::with_origin(self, Uri::from_static("http://localhost"))
    }
}

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, hyper::Result<Self::Response>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
