//! What must hold of the core, from outside: its public items alone.

mod alphabet;
mod circuits;
mod diagram;
mod fuzz_bodies;
mod fuzzing;
mod golden;
mod honest_world;
mod invariants;
mod limits;
mod multipart;
mod pages;
mod reachable;
mod rules;
mod seeded;
