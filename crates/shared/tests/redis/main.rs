//! Limits counted in real servers: Redis, single and a Cluster.

mod asking;
mod exact;
mod looking;
mod loss;
mod server;
mod size;
mod suite;
